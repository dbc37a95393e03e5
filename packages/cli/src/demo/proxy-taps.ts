/**
 * What the demo looks at and does in the frames of one bank's proxy: check-backs and verdicts are written to the fault log as they pass, the second
 * confirmation of a chosen serial is swallowed, and scripts are called when a serial's request has been asked or answered.
 */
import type { FaultLog } from './fault-log.ts';
import { peek, serialOf, type Peek } from './frames.ts';
import { Proxy, type Direction } from './proxy.ts';

const SEND = 10;
const UPDATE_CONSUMER_OFFSET = 15;
const END_TRANSACTION = 37;
const CHECK_TRANSACTION_STATE = 39;
const SEND_V2 = 310;
const SEND_BATCH = 320;

const COMMIT = '8';
const ROLLBACK = '12';

export class ProxyTaps {
  readonly proxy: Proxy;
  private readonly log: FaultLog;
  private readonly swallowing = new Set<string>();
  /** Sends without an answer yet, by connection and opaque. */
  private readonly open = new Set<string>();
  private offsetsWanted = false;
  private asked: Trigger | undefined;
  private answered: Trigger | undefined;

  constructor(brokerPort: number, log: FaultLog) {
    this.log = log;
    this.proxy = new Proxy(brokerPort, (direction, frame, connection) => this.look(direction, frame, connection));
    this.proxy.onClosed = (connection) => this.closed(connection);
  }

  /** The producer's own END_TRANSACTION of this serial will not reach the broker; its answers to check-backs will. */
  swallowConfirmation(serial: string): void {
    this.swallowing.add(serial);
  }

  /** Reports committed consumer offsets to the log while true. */
  reportOffsets(wanted: boolean): void {
    this.offsetsWanted = wanted;
  }

  /** Calls `run` right after a send with this serial was passed to the broker. */
  onceAsked(serial: string, run: () => void): void {
    this.asked = { serial, run, key: undefined };
  }

  /** Calls `run` when the broker's answer to a send with this serial passes. */
  onceAnswered(serial: string, run: () => void): void {
    this.answered = { serial, run, key: undefined };
  }

  forget(): void {
    this.asked = undefined;
    this.answered = undefined;
  }

  /** Sends that passed to the broker and have no answer yet. */
  get unanswered(): number {
    return this.open.size;
  }

  private look(direction: Direction, frame: Buffer, connection: number): 'pass' | 'swallow' {
    const seen = peek(frame);
    if (seen === undefined) return 'pass';
    const key = `${connection}:${seen.opaque}`;
    if (direction === 'to-bank') {
      if (seen.isResponse) this.answer(key);
      else if (seen.code === CHECK_TRANSACTION_STATE) this.log.add({ what: 'check-back', serial: serialOf(seen) });
      return 'pass';
    }
    if (seen.isResponse) return 'pass';
    if (seen.code === END_TRANSACTION) return this.confirmation(seen);
    if (seen.code === SEND || seen.code === SEND_V2 || seen.code === SEND_BATCH) this.send(frame, seen, key);
    if (seen.code === UPDATE_CONSUMER_OFFSET && this.offsetsWanted) this.offset(seen);
    return 'pass';
  }

  private confirmation(seen: Peek): 'pass' | 'swallow' {
    const serial = serialOf(seen);
    const checkedBack = seen.fields().get('fromTransactionCheck') === 'true';
    if (!checkedBack && this.swallowing.has(serial)) {
      this.log.add({ what: 'swallowed', serial });
      return 'swallow';
    }
    const kind = seen.fields().get('commitOrRollback');
    if (kind === ROLLBACK || (kind === COMMIT && checkedBack)) {
      this.log.add({ what: 'verdict', serial, verdict: kind === COMMIT ? 'commit' : 'rollback', checkedBack });
    }
    return 'pass';
  }

  private send(frame: Buffer, seen: Peek, key: string): void {
    if (seen.isOneway) return;
    this.open.add(key);
    if (this.answered?.key === undefined && this.answered !== undefined && frame.includes(this.answered.serial))
      this.answered.key = key;
    if (this.asked !== undefined && frame.includes(this.asked.serial)) {
      const { run } = this.asked;
      this.asked = undefined;
      // After the frame has been written: the request is with the broker, its answer is not out yet.
      setImmediate(run);
    }
  }

  private answer(key: string): void {
    this.open.delete(key);
    if (this.answered?.key !== key) return;
    const { run } = this.answered;
    this.answered = undefined;
    run();
  }

  private offset(seen: Peek): void {
    const fields = seen.fields();
    this.log.add({
      what: 'offset-committed',
      queueId: Number(fields.get('queueId')),
      offset: Number(fields.get('commitOffset')),
    });
  }

  private closed(connection: number): void {
    for (const key of this.open) if (key.startsWith(`${connection}:`)) this.open.delete(key);
  }
}

interface Trigger {
  readonly serial: string;
  readonly run: () => void;
  key: string | undefined;
}
