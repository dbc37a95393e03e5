/** The least of a name server: tells which brokers have the one topic there is, so that a client spreads over brokers of our choosing. */
import { createServer, type AddressInfo } from 'node:net';
import { socketWire, systemClock, systemTimers, systemTurn } from '@tallystick/base/node';
import { Peer, RequestCode, ResponseCode } from '@tallystick/remoting';

export interface KnownBroker {
  readonly brokerName: string;
  readonly address: string;
  readonly queues: number;
}

/** Serves on a free port of this machine; its address. */
export async function serveRoutes(brokers: readonly KnownBroker[]): Promise<string> {
  const ports = { clock: systemClock, timers: systemTimers(), turn: systemTurn() };
  const brokerDatas = brokers.map(({ brokerName, address }) => ({ brokerName, cluster: 'c', brokerAddrs: { '0': address } }));
  const queueDatas = brokers.map(({ brokerName, queues }) => ({
    brokerName,
    readQueueNums: queues,
    writeQueueNums: queues,
    perm: 6,
    topicSysFlag: 0,
  }));
  const route = Buffer.from(JSON.stringify({ brokerDatas, queueDatas, filterServerTable: {} }));
  const cluster = Buffer.from(
    JSON.stringify({
      brokerAddrTable: Object.fromEntries(brokerDatas.map((each) => [each.brokerName, each])),
      clusterAddrTable: { c: brokers.map((each) => each.brokerName) },
    }),
  );
  const server = createServer((socket) => {
    const peer: Peer = new Peer(
      socketWire(socket),
      ports,
      {},
      {
        onRequest: (_peer, frame) => {
          const body = frame.code === RequestCode.GET_ROUTEINFO_BY_TOPIC ? route : cluster;
          peer.answer(frame.ref(), ResponseCode.SUCCESS, undefined, {}, body);
        },
        onClose: () => {},
      },
    );
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return `127.0.0.1:${(server.address() as AddressInfo).port}`;
}
