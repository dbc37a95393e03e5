/** A transactional producer with promises. */
import type { ClientCore } from '../client-core.ts';
import type { ReceivedMessage } from '../message/received-message.ts';
import type { GivenTransactionOptions } from '../options.ts';
import type { SendReceipt } from '../producer/receipt.ts';
import type { ProducerRecord } from '../producer/record.ts';
import { type Verdict, isVerdict } from '../transaction/end-request.ts';
import type { Answer, Half, TransactionProducerCore } from '../transaction/transaction-producer-core.ts';
import type { ProducerSettings } from './producer-shell.ts';

type Plain = Uint8Array | string;

export interface TransactionListener<A = unknown, K = Plain, V = Plain> {
  /** What became of this message's local transaction? A throw, a rejection or anything else counts as unknown. */
  check(message: ReceivedMessage): Verdict | Promise<Verdict>;
  /** Runs the local transaction; for `sendInTransaction`. */
  execute?(record: ProducerRecord<K, V>, argument: A): Verdict | Promise<Verdict>;
}

export type TransactionSettings<A = unknown, K = Plain, V = Plain> = Omit<GivenTransactionOptions, keyof ProducerSettings> &
  ProducerSettings<K, V> & { readonly listener: TransactionListener<A, K, V> };

/** A half message that is stored; say what became of your transaction. */
export interface PendingHalf {
  readonly messageId: string;
  readonly receipt: SendReceipt;
  /** One-way by default; with `confirmed` it resolves when the broker has settled it and rejects when that is not known. */
  commit(options?: { readonly confirmed?: boolean | undefined }): Promise<void>;
  rollback(options?: { readonly confirmed?: boolean | undefined }): Promise<void>;
}

export interface TransactionResult {
  readonly receipt: SendReceipt;
  /** What was confirmed. */
  readonly verdict: Verdict;
}

/** How long `close` waits for the last verdicts when nothing is said. */
const CLOSE_TIMEOUT_MS = 30_000;

export class TransactionProducer<A = unknown, K = Plain, V = Plain> {
  readonly core: TransactionProducerCore;

  constructor(client: Pick<ClientCore, 'transactionProducer'>, { listener, ...options }: TransactionSettings<A, K, V>) {
    const execute = listener.execute?.bind(listener);
    this.core = client.transactionProducer({
      ...options,
      listener: {
        check: (message, answer) => answerWith(() => listener.check(message), 'check', answer),
        execute:
          execute &&
          ((record, _receipt, argument, answer) =>
            answerWith(() => execute(record as ProducerRecord<K, V>, argument as A), 'execute', answer)),
      },
    });
  }

  /** Registers the group with the brokers; resolves when one has it. Check-backs are answered from then on. */
  start(): Promise<void> {
    return new Promise((resolve, reject) => this.core.start((error) => (error === undefined ? resolve() : reject(error))));
  }

  /** Stores a half message. A rejection means that nothing must be committed for it. */
  half(record: ProducerRecord<K, V>): Promise<PendingHalf> {
    return new Promise((resolve, reject) => {
      this.core.half(record, (error, half) => {
        if (error === undefined) resolve(new ShellHalf(this.core, half));
        else reject(error);
      });
    });
  }

  /** Half message, `listener.execute`, confirmation. */
  sendInTransaction(record: ProducerRecord<K, V>, argument?: A): Promise<TransactionResult> {
    return new Promise((resolve, reject) => {
      this.core.sendInTransaction(record, argument, (error, half, verdict) => {
        if (error === undefined) resolve({ receipt: half.receipt, verdict });
        else reject(error);
      });
    });
  }

  close({ timeoutMs = CLOSE_TIMEOUT_MS }: { readonly timeoutMs?: number | undefined } = {}): Promise<void> {
    return new Promise((resolve) => this.core.close(timeoutMs, resolve));
  }
}

class ShellHalf implements PendingHalf {
  readonly #core: TransactionProducerCore;
  readonly #half: Half;

  constructor(core: TransactionProducerCore, half: Half) {
    this.#core = core;
    this.#half = half;
  }

  get messageId(): string {
    return this.#half.messageId;
  }

  get receipt(): SendReceipt {
    return this.#half.receipt;
  }

  commit(options: { readonly confirmed?: boolean | undefined } = {}): Promise<void> {
    return this.#end('commit', options.confirmed === true);
  }

  rollback(options: { readonly confirmed?: boolean | undefined } = {}): Promise<void> {
    return this.#end('rollback', options.confirmed === true);
  }

  #end(verdict: 'commit' | 'rollback', confirmed: boolean): Promise<void> {
    if (!confirmed) {
      this.#core.end(this.#half, verdict);
      return Promise.resolve();
    }
    return new Promise((resolve, reject) => {
      this.#core.endConfirmed(this.#half, verdict, (error) => (error === undefined ? resolve() : reject(error)));
    });
  }
}

/** Answers with what the user's code returns, now or later. */
function answerWith(run: () => Verdict | Promise<Verdict>, what: string, answer: Answer): void {
  const said = run();
  if (isVerdict(said)) return answer(said);
  Promise.resolve(said).then(
    (verdict) => (isVerdict(verdict) ? answer(verdict) : answer('unknown', `${what} returned ${String(verdict)}`)),
    (thrown) => answer('unknown', `${what} failed: ${String(thrown)}`),
  );
}
