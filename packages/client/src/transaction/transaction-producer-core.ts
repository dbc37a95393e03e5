/**
 * A producer whose messages become visible when the sender's own transaction has committed. A half message goes to the broker first,
 * out of consumers' sight; the second confirmation says commit or roll back. If it is lost, the broker asks (check-back) any producer
 * of the group, and the listener answers from what its database says.
 *
 *    listener form   half → listener.execute → confirmation          all in `sendInTransaction`
 *    two steps       half → the user's transaction → confirmation    `half`, then `end`
 *
 *    the half's answer                     then
 *    stored                                execute, confirm what it says (throws: unknown, with the text as remark)
 *    10, 11, 12 (not confirmed in time)    nothing is executed; rolled back at once
 *    anything else                         nothing is executed, nothing is confirmed; a half that exists after all is checked back
 *
 * A group is announced to all brokers by `start`, before the first send, and again on each new connection: a broker must find somebody to
 * ask even when this process has not sent anything since it started.
 */
import { type EndRequest, EndRequests, type Frame, PropertyName, RequestCode, ResponseCode, SysFlag } from '@tallystick/remoting';
import type { ClientContext } from '../context.ts';
import { type ClientError, IndefiniteError, type SendError, answerError, callError, fail } from '../errors.ts';
import type { ReceivedMessage } from '../message/received-message.ts';
import type { TransactionOptions } from '../options.ts';
import type { Connection } from '../peers.ts';
import { ProducerCore } from '../producer/producer-core.ts';
import type { SendReceipt } from '../producer/receipt.ts';
import type { ProducerRecord, SendMarks } from '../producer/record.ts';
import type { ProducerMember } from '../session.ts';
import { readCheck } from './check-request.ts';
import { type HalfName, type Verdict, endFields, halfOf, verdictCode } from './end-request.ts';

/** Tells the outcome; only the first call counts. `remark` travels to the broker's log. */
export type Answer = (verdict: Verdict, remark?: string) => void;

/** The user's side of a transaction, callback style. A throw counts as unknown. */
export interface TransactionCallbacks {
  /** What became of the local transaction of this half message? */
  check(message: ReceivedMessage, answer: Answer): void;
  /** Runs the local transaction of a half message that has just been stored. */
  execute?:
    ((record: ProducerRecord<unknown, unknown>, receipt: SendReceipt, argument: unknown, answer: Answer) => void) | undefined;
}

/** A stored half message that waits for its confirmation. The first definite one wins; a lost one is made good by the check-back. */
export class Half {
  readonly receipt: SendReceipt;
  readonly #producer: TransactionProducerCore;

  constructor(producer: TransactionProducerCore, receipt: SendReceipt) {
    this.#producer = producer;
    this.receipt = receipt;
  }

  get messageId(): string {
    return this.receipt.messageId;
  }

  /** The sender's transaction has committed: consumers may see the message. One-way. */
  commit(): void {
    this.#producer.end(this, 'commit');
  }

  /** It has not and never will. One-way. */
  rollback(): void {
    this.#producer.end(this, 'rollback');
  }
}

const CHECK_INFLATED_BYTES_MAX = 64 * 1024 * 1024;
/** Templates of confirmations, one per topic and broker; beyond so many all are made anew. */
const ENDS_MAX = 10_000;

/** As much of a producer as stores half messages. */
export type HalfSender = Pick<ProducerCore, 'sendMarked' | 'close' | 'onClosed'>;

export class TransactionProducerCore implements ProducerMember {
  readonly group: string;
  readonly reachable = true;
  readonly producer: HalfSender;
  readonly #context: ClientContext;
  readonly #options: TransactionOptions;
  readonly #callbacks: TransactionCallbacks;
  readonly #marks: SendMarks;
  readonly #ends = new Map<string, EndRequests>();
  #lastEnds: EndRequests | undefined;
  readonly #end: EndRequest = { halfOffset: 0, position: 0, verdict: 0, idPrefix: '', idLow: 0 };
  #checking = 0;
  /** Called once when it has closed. */
  onClosed: (() => void) | undefined;

  /** `producer`: what stores the half messages, when it is not to be a producer of its own. */
  constructor(context: ClientContext, options: TransactionOptions, callbacks: TransactionCallbacks, producer?: HalfSender) {
    this.#context = context;
    this.#options = options;
    this.#callbacks = callbacks;
    this.group = options.group;
    this.producer = producer ?? new ProducerCore(context, options);
    this.producer.onClosed = (done) => {
      this.onClosed?.();
      context.session.leaveProducer(this, done);
    };
    const properties: [string, string][] = [
      [PropertyName.TRANSACTION_PREPARED, 'true'],
      [PropertyName.PRODUCER_GROUP, options.group],
    ];
    this.#marks = { sysFlag: SysFlag.PREPARED, properties, hasId: false, reconsumeTimes: 0, maxReconsumeTimes: undefined };
  }

  /** Announces the group; `done` when at least one broker has taken it, or with why none has within `startTimeoutMs`. */
  start(done: (error: ClientError | undefined) => void): void {
    this.#context.session.joinProducer(this);
    this.#context.session.announce(done);
  }

  /** Stores a half message. */
  half(record: ProducerRecord<unknown, unknown>, done: (error: SendError | undefined, half: Half) => void): void {
    const none = undefined as unknown as Half;
    this.producer.sendMarked(record, this.#marks, (error, receipt) => {
      if (error === undefined) {
        if (receipt.position < 0)
          return done(fail('MALFORMED_ANSWER', `offset ${receipt.offset}, message id "${receipt.offsetMessageId}"`), none);
        return done(undefined, new Half(this, receipt));
      }
      const late =
        error instanceof IndefiniteError && error.receipt !== undefined ? halfOf(this.group, error.receipt) : undefined;
      if (late === undefined) return done(error, none);
      this.#confirm((error as IndefiniteError).receipt!.address, late, 'rollback', undefined, false);
      done(fail('ROLLED_BACK', undefined, error), none);
    });
  }

  /** Confirms one-way: a lost confirmation is made good by the check-back. */
  end(half: Half, verdict: Verdict, remark?: string): void {
    const { receipt } = half;
    const { peer } = this.#context.peers.to(receipt.address);
    if (peer === undefined || remark !== undefined) {
      return this.#confirm(receipt.address, halfOf(this.group, receipt)!, verdict, remark, false);
    }
    const end = this.#end;
    end.halfOffset = receipt.offset;
    end.position = receipt.position;
    end.verdict = verdictCode(verdict);
    end.idPrefix = receipt.idPrefix;
    end.idLow = receipt.idLow;
    peer.onewayWith(this.#endsOf(receipt), end);
  }

  /** Confirms and waits for the broker's word. An error with outcome `unknown` leaves it to the check-back. */
  endConfirmed(half: Half, verdict: 'commit' | 'rollback', done: (error: ClientError | undefined) => void): void {
    const { requestTimeoutMs } = this.#options;
    const fields = endFields(halfOf(this.group, half.receipt)!, verdict, false);
    this.#context.peers
      .to(half.receipt.address)
      .request(RequestCode.END_TRANSACTION, fields, undefined, requestTimeoutMs, (error, reply) => {
        if (error !== undefined) done(callError(error.kind, error.message));
        else done(reply.code === ResponseCode.SUCCESS ? undefined : answerError(reply.code, reply.remark()));
      });
  }

  /** Half message, local transaction, confirmation. `done` tells what was confirmed; an error means that nothing was executed. */
  sendInTransaction(
    record: ProducerRecord<unknown, unknown>,
    argument: unknown,
    done: (error: SendError | undefined, half: Half, verdict: Verdict) => void,
  ): void {
    const { execute } = this.#callbacks;
    const none = undefined as unknown as Half;
    if (execute === undefined) return done(fail('ILLEGAL_RECORD', 'the listener has no execute(); use half()'), none, 'unknown');
    this.half(record, (error, half) => {
      if (error !== undefined) return done(error, none, 'rollback');
      once(
        (answer) => execute.call(this.#callbacks, record, half.receipt, argument, answer),
        'execute',
        (verdict, remark) => {
          this.end(half, verdict, remark);
          done(undefined, half, verdict);
        },
      );
    });
  }

  /** As a producer's: 0 ends the wait of another close too. */
  close(timeoutMs: number, done: () => void): void {
    this.producer.close(timeoutMs, done);
  }

  /** A broker asks about a half message; the answer goes to the broker that asked. */
  checked(connection: Connection, frame: Frame): void {
    const check = readCheck(frame, CHECK_INFLATED_BYTES_MAX);
    if (typeof check === 'string')
      return this.#context.report(`a check-back from ${connection.address} cannot be read`, new Error(check));
    if (check.half.group !== this.group) return;
    if (this.#checking >= this.#options.checksMax) return;
    this.#checking++;
    // The listener is the user's code: it must not run inside the connection's read.
    this.#context.ports.turn.atEnd(() => {
      once(
        (answer) => this.#callbacks.check(check.message, answer),
        'check',
        (verdict, remark) => {
          this.#checking--;
          this.#confirm(connection.address, check.half, verdict, remark, true);
        },
      );
    });
  }

  /** The template for confirmations of a receipt's topic and broker. */
  #endsOf(receipt: SendReceipt): EndRequests {
    const { topic, brokerName } = receipt;
    const last = this.#lastEnds;
    if (last !== undefined && last.route.topic === topic && last.route.brokerName === brokerName) return last;
    const key = `${topic}@${brokerName}`;
    let ends = this.#ends.get(key);
    if (ends === undefined) {
      if (this.#ends.size >= ENDS_MAX) this.#ends.clear();
      ends = new EndRequests({ producerGroup: this.group, topic, brokerName });
      this.#ends.set(key, ends);
    }
    this.#lastEnds = ends;
    return ends;
  }

  #confirm(address: string, half: HalfName, verdict: Verdict, remark: string | undefined, fromCheck: boolean): void {
    this.#context.peers.to(address).oneway(RequestCode.END_TRANSACTION, endFields(half, verdict, fromCheck), undefined, remark);
  }
}

/** Runs the user's code with an answer that counts once; a throw is an `unknown` with its text as remark. */
function once(run: (answer: Answer) => void, what: string, then: Answer): void {
  let answered = false;
  const answer: Answer = (verdict, remark) => {
    if (answered) return;
    answered = true;
    then(verdict, remark);
  };
  try {
    run(answer);
  } catch (thrown) {
    answer('unknown', `${what} failed: ${String(thrown)}`);
  }
}
