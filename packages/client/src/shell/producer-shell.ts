/** A producer with promises. `sendWith` is the fast way; a promise per record costs more than everything else in a send. */
import type { SendError } from '../errors.ts';
import type { ProducerCore } from '../producer/producer-core.ts';
import type { SendDone } from '../producer/producer-batch.ts';
import type { SendReceipt } from '../producer/receipt.ts';
import type { ProducerRecord } from '../producer/record.ts';

/** One message of an outbox, as a relay hands it over. */
export interface OutgoingMessage {
  readonly id: string;
  readonly topic: string;
  readonly key?: string | undefined;
  readonly tag?: string | undefined;
  readonly headers?: ReadonlyMap<string, string> | undefined;
  readonly body: Uint8Array;
}

export interface PublishOutcome {
  readonly outcome: 'confirmed' | 'rejected' | 'unroutable' | 'unavailable' | 'unknown';
  readonly reason?: string | undefined;
}

/** How long `close` waits for the last verdicts when nothing is said. */
const CLOSE_TIMEOUT_MS = 30_000;

export class Producer {
  readonly core: ProducerCore;
  #closed: Promise<void> | undefined;

  constructor(core: ProducerCore) {
    this.core = core;
  }

  /** Resolves when the broker has the record; rejects with a SendError, whose `outcome` says what is known. */
  send(record: ProducerRecord): Promise<SendReceipt> {
    return new Promise((resolve, reject) => {
      this.core.send(record, (error, receipt) => {
        if (error === undefined) resolve(receipt);
        else reject(error);
      });
    });
  }

  /** The fast way: `done` is called once, with an error or a receipt. */
  sendWith(record: ProducerRecord, done: SendDone): void {
    this.core.send(record, done);
  }

  /** Resolves when every record sent before has its verdict; failures are told to their own callers only. */
  flush(): Promise<void> {
    return new Promise((resolve) => this.core.flush(resolve));
  }

  /** Waits for verdicts up to `timeoutMs`, then fails the rest. */
  close({ timeoutMs = CLOSE_TIMEOUT_MS }: { readonly timeoutMs?: number | undefined } = {}): Promise<void> {
    this.#closed ??= new Promise((resolve) => this.core.close(timeoutMs, resolve));
    return this.#closed;
  }

  /** The outbox relay's seam: one outcome per message, in order; never rejects. */
  publish(batch: readonly OutgoingMessage[]): Promise<readonly PublishOutcome[]> {
    return new Promise((resolve) => {
      const outcomes: PublishOutcome[] = [];
      let left = batch.length;
      if (left === 0) resolve(outcomes);
      batch.forEach(({ body, ...message }, at) => {
        this.core.send({ ...message, value: body }, (error) => {
          outcomes[at] = error === undefined ? CONFIRMED : outcomeOf(error);
          if (--left === 0) resolve(outcomes);
        });
      });
    });
  }
}

const CONFIRMED: PublishOutcome = { outcome: 'confirmed' };

function outcomeOf({ outcome, message }: SendError): PublishOutcome {
  return { outcome, reason: message };
}
