/**
 * Brings notices to an URL, one after the other: signed anew at every attempt, with a time limit, a bounded number of attempts and a bounded
 * queue. Nothing waits for it; what could not be told is told of to `undelivered`, and so may be raised again.
 *
 * States: `idle` (nothing to tell) ⇄ `telling` (one request, or the wait before its next attempt) → stop() → `stopped`.
 */
import { backoffMs, BoundedQueue, type Clock, type Random, type Timer, type Timers } from '@tallystick/base';
import type { AlarmNotice } from './notice.ts';
import { SIGNATURE_HEADER, signWebhook, TIMESTAMP_HEADER } from './signature.ts';

/** As much of `fetch` as is used. */
export type Fetch = (
  url: string,
  request: {
    readonly method: 'POST';
    readonly headers: Readonly<Record<string, string>>;
    readonly body: string;
    readonly redirect: 'error';
    readonly signal: AbortSignal;
  },
) => Promise<{ readonly status: number }>;

export interface WebhookSettings {
  /** Where notices are posted, `https:` outside of one machine. */
  readonly url: string;
  /** Shared with the receiver; signs each request. */
  readonly secret: string;
  readonly fetch?: Fetch | undefined;
}

export interface WebhookLimits {
  readonly webhookTimeoutMs: number;
  readonly webhookAttemptsMax: number;
  readonly webhookRetryFirstMs: number;
  readonly webhookRetryMaxMs: number;
  readonly noticesMax: number;
}

interface Ports {
  readonly clock: Clock;
  readonly timers: Timers;
  readonly random: Random;
}

export class Webhook {
  readonly counters = { delivered: 0, attempts: 0, undelivered: 0 };
  readonly #settings: WebhookSettings;
  readonly #limits: WebhookLimits;
  readonly #ports: Ports;
  readonly #undelivered: (notice: AlarmNotice, reason: string) => void;
  readonly #queue: BoundedQueue<AlarmNotice>;
  readonly #stop = new AbortController();
  #telling: Promise<void> | undefined;

  constructor(
    settings: WebhookSettings,
    limits: WebhookLimits,
    ports: Ports,
    undelivered: (notice: AlarmNotice, reason: string) => void,
  ) {
    this.#settings = settings;
    this.#limits = limits;
    this.#ports = ports;
    this.#undelivered = undelivered;
    this.#queue = new BoundedQueue(limits.noticesMax);
  }

  tell(notice: AlarmNotice): void {
    if (this.#stop.signal.aborted) this.#failed(notice, 'stopped');
    else if (!this.#queue.offer(notice)) this.#failed(notice, `${this.#limits.noticesMax} notices wait already (noticesMax)`);
    else this.#telling ??= this.#tellAll().finally(() => (this.#telling = undefined));
  }

  /** Ends the attempt in hand; what waits is undelivered. */
  async stop(): Promise<void> {
    this.#stop.abort(new Error('stopped'));
    await this.#telling;
  }

  /** Resolves when nothing is left to tell. */
  async idle(): Promise<void> {
    while (this.#telling !== undefined) await this.#telling;
  }

  async #tellAll(): Promise<void> {
    for (let notice = this.#queue.take(); notice !== undefined; notice = this.#queue.take()) await this.#tellOne(notice);
  }

  async #tellOne(notice: AlarmNotice): Promise<void> {
    const { webhookAttemptsMax, webhookRetryFirstMs, webhookRetryMaxMs } = this.#limits;
    let reason = 'stopped';
    for (let attempt = 1; attempt <= webhookAttemptsMax && !this.#stop.signal.aborted; attempt++) {
      const answer = await this.#attempt(JSON.stringify(notice));
      if (answer === 'delivered') {
        this.counters.delivered++;
        return;
      }
      reason = this.#stop.signal.aborted ? 'stopped' : answer.reason;
      // What the receiver understood and refused it will refuse again.
      if (answer.final) break;
      if (attempt < webhookAttemptsMax && !this.#stop.signal.aborted) {
        const wait = { firstMs: webhookRetryFirstMs, maxMs: webhookRetryMaxMs };
        await this.#pause(backoffMs(wait, attempt, this.#ports.random.u32()));
      }
    }
    this.#failed(notice, reason);
  }

  async #attempt(body: string): Promise<'delivered' | { readonly reason: string; readonly final: boolean }> {
    const { url, secret, fetch = globalThis.fetch as Fetch } = this.#settings;
    const { clock, timers } = this.#ports;
    const timestamp = clock.now();
    const timeout = new AbortController();
    const timer = timers.after(this.#limits.webhookTimeoutMs, () => timeout.abort(new Error('no answer in time')));
    this.counters.attempts++;
    try {
      const { status } = await fetch(url, {
        method: 'POST',
        headers: {
          'content-type': 'application/json',
          [TIMESTAMP_HEADER]: String(timestamp),
          [SIGNATURE_HEADER]: signWebhook(secret, timestamp, body),
        },
        body,
        // A redirect would take the notice to whom nobody has chosen.
        redirect: 'error',
        signal: AbortSignal.any([timeout.signal, this.#stop.signal]),
      });
      if (status >= 200 && status < 300) return 'delivered';
      return { reason: `status ${status}`, final: status >= 400 && status < 500 && status !== 408 && status !== 429 };
    } catch (error) {
      return { reason: error instanceof Error ? error.message : String(error), final: false };
    } finally {
      timers.cancel(timer);
    }
  }

  #pause(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const { timers } = this.#ports;
      const timer: Timer = timers.after(ms, resolve);
      this.#stop.signal.addEventListener('abort', () => {
        timers.cancel(timer);
        resolve();
      });
    });
  }

  #failed(notice: AlarmNotice, reason: string): void {
    this.counters.undelivered++;
    this.#undelivered(notice, reason);
  }
}
