import { Client } from '@tallystick/client';
import { pipe } from '@tallystick/base';
import { systemClock, systemTimers, systemTurn } from '@tallystick/base/node';
import { Peer, RequestCode, SendAnswers, emptySendAnswer, encodeHost, encodeTopicRoute } from '@tallystick/remoting';
const turn = systemTurn();
const answers = new SendAnswers(encodeHost('127.0.0.1', 9876)!);
const answer = emptySendAnswer();
const route = encodeTopicRoute({ brokerDatas: [{ cluster: 'c', brokerName: 'b', brokerAddrs: new Map([['0', '1.1.1.1:1']]) }], queueDatas: [{ brokerName: 'b', readQueueNums: 8, writeQueueNums: 8, perm: 6, topicSysFlag: 0 }] });
let frames = 0;
const connect = () => {
  const [a, b] = pipe(turn);
  new Peer(b, { clock: systemClock, timers: systemTimers(), turn }, {}, {
    onRequest(peer, frame) {
      if (frame.code === RequestCode.GET_ROUTEINFO_BY_TOPIC) return peer.answer(frame.ref(), 0, undefined, {}, route);
      if (frame.code === 310 || frame.code === 320) { frames++;
        let n = 1;
        if (frame.code === 320) { n = 0; for (let at = frame.bodyStart; at < frame.bodyEnd; at += frame.bytes.readInt32BE(at)) n++; }
        answer.count = n; if (answer.positions.length < n) answer.positions = new Array(n).fill(0);
        return peer.answerWith(answers, answer, frame.headerKind, frame.opaque);
      }
      peer.answer(frame.ref(), 0);
    },
    onClose() {},
  });
  return a;
};
const mode = process.argv[2]; const inFlight = Number(process.argv[3]);
const client = new Client({ connect });
const producer = client.producer(mode === 'single' ? { batchSizeBytes: 0 } : {});
const values = Array.from({ length: 4096 }, (_, i) => Buffer.alloc(100, i));
const keys = values.map((_, i) => `order-${i}`);
const headers = values.map((_, i) => ({ trace: `t${i}` }));
const topics = ['a', 'b'];
let sent = 0, done = 0; const total = Number(process.argv[4]);
await new Promise<void>((resolve) => {
  const one = () => { const n = sent++; const s = n & 4095; const record = { topic: topics[n & 1]!, key: keys[s]!, value: values[(n * 31) & 4095]!, headers: headers[s]! };
    const d = (e: unknown, r: { offset: number }) => { if (e) throw e; r.offset; done++; if (done === 200000) { t0 = process.cpuUsage(); f0 = frames; } if (done === total) resolve(); else if (sent < total) one(); };
    if (mode === 'promise') producer.send(record).then((r) => d(undefined, r)); else producer.sendWith(record, d as never); };
  let t0: NodeJS.CpuUsage; let f0 = 0;
  for (let i = 0; i < inFlight; i++) one();
  process.on('exit', () => { const u = process.cpuUsage(t0); console.log(mode, inFlight, 'cpu us/msg', ((u.user) / (total - 200000)).toFixed(2), 'sys', (u.system / (total - 200000)).toFixed(2), 'msgs/frame', ((total - 200000) / (frames - f0)).toFixed(1)); });
});
process.exit(0);
