/**
 * Reads every queue that was flooded, from its first offset to its last, and compares with what the sender was told: everything
 * acknowledged is there once, at its offset; nothing that was refused is; each queue is in the order of its connection.
 */
import { crc32 } from 'node:zlib';
import { systemClock, systemTimers, systemTurn, tcpDialer } from '@tallystick/base/node';
import { Peer, RequestCode, type Frame } from '@tallystick/remoting';
import { type Flood, MAYBE, OPEN, REFUSED, STORED } from './flood.ts';

export interface Verdict {
  readonly stored: number;
  readonly acknowledged: number;
  /** Acknowledged and not there; each is a problem too. */
  readonly lost: number;
  /** Nobody was told, and they are there. */
  readonly unknownButStored: number;
  readonly problems: readonly string[];
}

/** `repeats`: the sender sent again what may have been stored; then a message may be there more than once, and out of order. */
export async function readBack(flood: Flood, port: number, repeats: boolean): Promise<Verdict> {
  const peer = await dial(port);
  const seen = new Uint8Array(flood.next);
  const problems: string[] = [];
  const problem = (text: string): void => {
    if (problems.length < 20) problems.push(text);
  };
  let stored = 0;
  let unknownButStored = 0;
  for (let queueId = 0; queueId < flood.config.connections; queueId++) {
    let next = 0;
    let last = -1;
    for (;;) {
      const body = await pull(peer, flood.config.topic, queueId, next);
      if (body === undefined) break;
      for (let at = 0; at < body.length; at += body.readUInt32BE(at)) {
        const offset = Number(body.readBigUInt64BE(at + 20));
        const bodyAt = at + 88;
        const bodyEnd = bodyAt + body.readUInt32BE(bodyAt - 4);
        const n = Number.parseInt(body.toString('latin1', bodyAt, bodyAt + 8), 16);
        const where = `message ${n} at ${queueId}@${offset}`;
        if (offset !== next) problem(`${where}: ${next} was due`);
        if ((crc32(body.subarray(bodyAt, bodyEnd)) & 0x7fffffff) !== (body.readUInt32BE(at + 8) & 0x7fffffff))
          problem(`${where}: checksum of the body`);
        if (!(n < flood.next)) problem(`${where}: never sent`);
        else {
          const state = flood.state[n];
          if (seen[n] === 1 && !repeats) problem(`${where}: a second time`);
          if (state === STORED && flood.lane[n] === queueId && flood.offset[n] !== offset && !repeats)
            problem(`${where}: acknowledged at ${flood.offset[n]}`);
          if (state === STORED && flood.lane[n] !== queueId) problem(`${where}: sent to queue ${flood.lane[n]}`);
          if (state === REFUSED && !repeats) problem(`${where}: had been refused`);
          if ((state === MAYBE || state === OPEN) && seen[n] === 0) unknownButStored++;
          if (n <= last && !repeats) problem(`${where}: after ${last}`);
          seen[n] = 1;
          last = n;
        }
        stored++;
        next = offset + 1;
      }
    }
  }
  let acknowledged = 0;
  let lost = 0;
  for (let n = 0; n < flood.next; n++) {
    if (flood.state[n] !== STORED) continue;
    acknowledged++;
    if (seen[n] === 1) continue;
    lost++;
    problem(`message ${n}, acknowledged at ${flood.lane[n]}@${flood.offset[n]}, is not there`);
  }
  peer.close(true);
  return { stored, acknowledged, lost, unknownButStored, problems };
}

/** A connection of our own to ask a broker. */
export function dial(port: number): Promise<Peer> {
  return new Promise((resolve, reject) => {
    tcpDialer().dial(`127.0.0.1:${port}`, (error, wire) => {
      if (error !== undefined) return reject(new Error(error));
      const ports = { clock: systemClock, timers: systemTimers(), turn: systemTurn() };
      resolve(new Peer(wire, ports, { kind: 'binary' }, { onRequest: () => {}, onClose: () => {} }));
    });
  });
}

/** One request; rejects when there is no answer. The answer is used at once: `use` gets a view. */
export function ask<T>(
  peer: Peer,
  code: number,
  fields: Readonly<Record<string, string | number | boolean>>,
  body: Uint8Array | undefined,
  use: (reply: Frame) => T,
): Promise<T> {
  return new Promise((resolve, reject) => {
    peer.request(code, fields, body, 30_000, (error, reply) => {
      if (error === undefined) resolve(use(reply));
      else reject(new Error(`request ${code}: ${error.message}`));
    });
  });
}

/** The next messages of a queue; undefined when there is none. */
export function pull(peer: Peer, topic: string, queueId: number, queueOffset: number): Promise<Buffer | undefined> {
  const fields = {
    consumerGroup: 'reader',
    topic,
    queueId,
    queueOffset,
    maxMsgNums: 1024,
    sysFlag: 4,
    commitOffset: 0,
    suspendTimeoutMillis: 0,
    subscription: '*',
    subVersion: 0,
    expressionType: 'TAG',
  };
  return ask(peer, RequestCode.PULL_MESSAGE, fields, undefined, (reply) =>
    reply.code === 0 ? Buffer.from(reply.body()) : undefined,
  );
}
