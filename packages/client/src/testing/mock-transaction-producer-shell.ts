/**
 * A transactional producer for tests: the real one, over {@link MockCalls} and a broker that only notes second confirmations. A half
 * message is uncommitted until its first definite one.
 */
import type { Frame } from '@tallystick/remoting';
import { ResponseCode } from '@tallystick/remoting';
import type { TransactionCoreOptions } from '../client-core.ts';
import { resolveWithRules } from '../producer/config-rules.ts';
import type { ClientContext } from '../context.ts';
import type { LocalCode, SendError } from '../errors.ts';
import { type GivenProducerOptions, TRANSACTION_OPTIONS } from '../options.ts';
import { TransactionProducer, type TransactionSettings } from '../shell/transaction-producer-shell.ts';
import { verdictCode } from '../transaction/end-request.ts';
import { TransactionProducerCore } from '../transaction/transaction-producer-core.ts';
import { MockCalls, type MockSent, type MockSettings } from './mock-calls-shell.ts';

type Plain = Uint8Array | string;

export type MockTransactionSettings<A = unknown, K = Plain, V = Plain> = TransactionSettings<A, K, V> & MockSettings;

export class MockTransactionProducer<A = unknown, K = Plain, V = Plain> extends TransactionProducer<A, K, V> {
  readonly #broker: MockBroker;

  constructor({ autoComplete, queues, ...settings }: MockTransactionSettings<A, K, V>) {
    const broker = new MockBroker({ autoComplete, queues });
    super(broker, settings as TransactionSettings<A, K, V>);
    this.#broker = broker;
  }

  get closed(): boolean {
    return this.#broker.calls.closed;
  }

  /** Every half message, in order. */
  history(): readonly MockSent[] {
    return [...this.#broker.calls.sent];
  }

  /** Half messages that consumers would see, in the order of their commits. */
  committed(): readonly MockSent[] {
    return this.#broker.ended('commit');
  }

  rolledBack(): readonly MockSent[] {
    return this.#broker.ended('rollback');
  }

  /** Half messages without a definite confirmation: a broker would ask the listener about them. */
  uncommitted(): readonly MockSent[] {
    const { calls, verdicts } = this.#broker;
    return calls.sent.filter(({ messageId }) => !verdicts.has(messageId));
  }

  /** The oldest half message without an answer is stored; false when there is none. */
  completeNext(): boolean {
    return this.#broker.calls.completeNext();
  }

  /** The oldest half message without an answer fails; false when there is none. */
  errorNext(error: SendError | LocalCode): boolean {
    return this.#broker.calls.errorNext(error);
  }

  clear(): void {
    this.#broker.calls.clear();
    this.#broker.verdicts.clear();
  }
}

/** As much of a client and its brokers as a transactional producer sees. */
class MockBroker {
  calls!: MockCalls;
  /** First definite confirmations, by message id, in order. */
  readonly verdicts = new Map<string, 'commit' | 'rollback'>();
  readonly #settings: MockSettings;

  constructor(settings: MockSettings) {
    this.#settings = settings;
  }

  transactionProducer({ listener, ...given }: TransactionCoreOptions): TransactionProducerCore {
    const options = resolveWithRules('mock transaction producer', TRANSACTION_OPTIONS, given);
    const { checksMax: _, ...producerOptions } = given as GivenProducerOptions & { readonly checksMax?: number };
    this.calls = new MockCalls(this.#settings, producerOptions);
    return new TransactionProducerCore(this.#context(), options, listener, this.calls);
  }

  ended(verdict: 'commit' | 'rollback'): readonly MockSent[] {
    const byId = new Map(this.calls.sent.map((sent) => [sent.messageId, sent]));
    return [...this.verdicts].filter(([, each]) => each === verdict).map(([id]) => byId.get(id)!);
  }

  #context(): ClientContext {
    const end = (fields: Record<string, unknown>): void => {
      const id = String(fields['msgId']);
      const verdict = (['commit', 'rollback'] as const).find((each) => verdictCode(each) === fields['commitOrRollback']);
      if (verdict !== undefined && !this.verdicts.has(id)) this.verdicts.set(id, verdict);
    };
    const connection = {
      peer: undefined,
      oneway: (_code: number, fields: Record<string, unknown>) => end(fields),
      request: (_code: number, fields: Record<string, unknown>, _body: unknown, _ms: number, done: Answered) => {
        end(fields);
        done(undefined, { code: ResponseCode.SUCCESS } as Frame);
      },
    };
    const session = {
      joinProducer: () => {},
      announce: (done: (error: undefined) => void) => done(undefined),
      leaveProducer: (_member: unknown, done: () => void) => done(),
    };
    return { session, peers: { to: () => connection }, report: () => {} } as unknown as ClientContext;
  }
}

type Answered = (error: undefined, reply: Frame) => void;
