/**
 * Messages that may be lost: they have no row and wait in memory, from the commit until the broker confirms them. A push that fails is
 * tried again with growing waits, `volatileTries` times in all; then the message is lost, and that is told whole: one record for the
 * log with everything a person needs to send it again by hand, one count, one alarm. Memory is bounded: a message beyond the bound is
 * lost at once. Order within a key is kept as long as nothing fails. What a crash takes is not told by anybody: that is what volatile
 * means.
 *
 * A message is `waiting` (in line), `flying` (being pushed), `resting` (until its next try) or gone (confirmed or lost).
 */
import { backoffMs, type Random, type Timer, type Timers, type Turn } from '@tallystick/base';
import { PassingSet } from '../passing.ts';
import type { OutgoingMessage, PublishOutcome, Transport } from '../transports/transport.ts';

export interface VolatileOptions {
  readonly volatileTries: number;
  readonly volatileFirstMs: number;
  readonly volatileMaxMs: number;
  readonly volatilePushMs: number;
  readonly volatileMessagesMax: number;
  readonly volatileBytesMax: number;
}

/** A message that was given up, whole. */
export interface Lost {
  readonly message: OutgoingMessage;
  /** Of the last try. */
  readonly outcome: PublishOutcome;
  readonly tries: number;
}

/** Since the outbox was made. */
export interface VolatileCounters {
  confirmed: number;
  lost: number;
  /** Pushes that came back without a confirmation. */
  failed: number;
}

export interface VolatilePorts {
  readonly transport: Transport;
  readonly random: Random;
  readonly timers: Timers;
  readonly turn: Turn;
  /** Must not throw. */
  lost(lost: Lost): void;
}

interface Held {
  readonly message: OutgoingMessage;
  tries: number;
  outcome: PublishOutcome;
}

export class VolatileQueue {
  readonly counters: VolatileCounters = { confirmed: 0, lost: 0, failed: 0 };
  readonly #options: VolatileOptions;
  readonly #ports: VolatilePorts;
  #waiting: Held[] = [];
  readonly #resting = new Map<Held, Timer>();
  /** Pushes that are out, and the messages of each. */
  readonly #flying = new PassingSet<readonly Held[]>();
  readonly #flyingKeys = new PassingSet<string>();
  #messages = 0;
  #bytes = 0;
  #launchAsked = false;
  #closed = false;
  #idle: (() => void)[] = [];

  constructor(options: VolatileOptions, ports: VolatilePorts) {
    this.#options = options;
    this.#ports = ports;
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** Messages in memory. */
  get waiting(): number {
    return this.#messages;
  }

  /** Their transaction is committed. */
  push(messages: readonly OutgoingMessage[]): void {
    for (const message of messages) {
      const held = { message, tries: 0, outcome: NEVER_TRIED };
      const full = this.#fullReason(message);
      this.#messages++;
      this.#bytes += message.body.length;
      if (full === undefined) this.#waiting.push(held);
      else this.#lose(held, { outcome: 'unavailable', reason: full });
    }
    this.#launchSoon();
  }

  /** They are lost without a try. */
  lose(messages: readonly OutgoingMessage[], reason: string): void {
    for (const message of messages) {
      this.counters.lost++;
      this.#ports.lost({ message, outcome: { outcome: 'unavailable', reason }, tries: 0 });
    }
  }

  /** Resolves when nothing is in memory any more: all confirmed or told lost. */
  flush(): Promise<void> {
    return this.#messages === 0 ? Promise.resolve() : new Promise((resolve) => this.#idle.push(resolve));
  }

  /** Takes no more, and waits at most `withinMs`; what is still here then is lost and told. */
  async close(withinMs: number): Promise<void> {
    this.#closed = true;
    let timer: Timer | undefined;
    const late = new Promise<void>((resolve) => (timer = this.#ports.timers.after(withinMs, resolve)));
    await Promise.race([this.flush(), late]);
    if (timer !== undefined) this.#ports.timers.cancel(timer);
    for (const [held, resting] of this.#resting) {
      this.#ports.timers.cancel(resting);
      this.#waiting.push(held);
    }
    this.#resting.clear();
    const [waiting, flying] = [this.#waiting, this.#flying.values().flat()];
    this.#waiting = [];
    this.#flying.clear();
    for (const held of waiting)
      this.#lose(held, { ...held.outcome, reason: `the outbox was closed; before that: ${held.outcome.reason}` });
    for (const held of flying) this.#lose(held, { outcome: 'unknown', reason: 'the outbox was closed during its push' });
  }

  #fullReason({ body }: OutgoingMessage): string | undefined {
    const { volatileMessagesMax, volatileBytesMax } = this.#options;
    if (this.#closed) return 'the outbox is closed';
    if (this.#messages >= volatileMessagesMax) return `${this.#messages} messages are in memory (volatileMessagesMax)`;
    if (this.#bytes + body.length > volatileBytesMax) return `${this.#bytes} bytes are in memory (volatileBytesMax)`;
    return undefined;
  }

  /** Messages of one turn share a push. */
  #launchSoon(): void {
    if (this.#launchAsked) return;
    this.#launchAsked = true;
    this.#ports.turn.atEnd(() => {
      this.#launchAsked = false;
      this.#launch();
    });
  }

  #launch(): void {
    while (this.#flying.size < FLIGHTS_MAX) {
      const batch = this.#take();
      if (batch.length === 0) return;
      void this.#fly(batch);
    }
  }

  /** From the front; no key twice in the air, so the first of a key leaves first. */
  #take(): Held[] {
    const batch: Held[] = [];
    const left: Held[] = [];
    const passed = new Set<string>();
    for (const held of this.#waiting) {
      const { key } = held.message;
      const taken = key !== undefined && (this.#flyingKeys.has(key) || passed.has(key));
      if (batch.length === BATCH_MAX || taken) left.push(held);
      else batch.push(held);
      if (key === undefined) continue;
      passed.add(key);
    }
    this.#waiting = left;
    for (const { message } of batch) if (message.key !== undefined) this.#flyingKeys.add(message.key);
    return batch;
  }

  async #fly(batch: readonly Held[]): Promise<void> {
    this.#flying.add(batch);
    const outcomes = await this.#pushed(batch.map(({ message }) => message));
    for (const { message } of batch) if (message.key !== undefined) this.#flyingKeys.delete(message.key);
    // Closed meanwhile: all of it is told lost already.
    if (!this.#flying.delete(batch)) return;
    batch.forEach((held, i) => this.#landed(held, outcomes[i] ?? NO_OUTCOME));
    this.#launch();
  }

  #landed(held: Held, outcome: PublishOutcome): void {
    held.tries++;
    held.outcome = outcome;
    if (outcome.outcome === 'confirmed') {
      this.counters.confirmed++;
      this.#gone(held);
      return;
    }
    this.counters.failed++;
    if (held.tries >= this.#options.volatileTries) {
      this.#lose(held, outcome);
      return;
    }
    const { volatileFirstMs, volatileMaxMs } = this.#options;
    const waitMs = backoffMs({ firstMs: volatileFirstMs, maxMs: volatileMaxMs }, held.tries, this.#ports.random.u32());
    const timer = this.#ports.timers.after(waitMs, () => {
      this.#resting.delete(held);
      this.#waiting.push(held);
      this.#launch();
    });
    this.#resting.set(held, timer);
  }

  /** The transport's outcomes; never rejects and never takes longer than `volatilePushMs`. */
  #pushed(messages: readonly OutgoingMessage[]): Promise<readonly PublishOutcome[]> {
    const { volatilePushMs } = this.#options;
    return new Promise((resolve) => {
      const all = (reason: string): readonly PublishOutcome[] => messages.map(() => ({ outcome: 'unknown', reason }));
      const timer = this.#ports.timers.after(volatilePushMs, () => resolve(all(`no answer for ${volatilePushMs} ms`)));
      void answered(this.#ports.transport, messages)
        .catch((error: unknown) => all(error instanceof Error ? error.message : String(error)))
        .then((outcomes) => {
          this.#ports.timers.cancel(timer);
          resolve(outcomes);
        });
    });
  }

  #lose(held: Held, outcome: PublishOutcome): void {
    this.counters.lost++;
    this.#ports.lost({ message: held.message, outcome, tries: held.tries });
    this.#gone(held);
  }

  #gone({ message }: Held): void {
    this.#messages--;
    this.#bytes -= message.body.length;
    if (this.#messages > 0) return;
    for (const resolve of this.#idle.splice(0)) resolve();
  }
}

async function answered(transport: Transport, messages: readonly OutgoingMessage[]): Promise<readonly PublishOutcome[]> {
  return transport.publish(messages);
}

const NEVER_TRIED: PublishOutcome = { outcome: 'unavailable', reason: 'never tried' };
const NO_OUTCOME: PublishOutcome = { outcome: 'unknown', reason: 'the transport gave no outcome' };

/** Pushes at once: one would wait a round trip per batch. */
const FLIGHTS_MAX = 4;
/** Messages of one push. */
const BATCH_MAX = 200;

/** A lost message as one line of JSON, with all that is needed to send it again by hand. */
export function lostLine({ message, outcome, tries }: Lost, nowMs: number): string {
  const text = textOf(message.body);
  return JSON.stringify({
    event: 'tallystick.lost',
    at: new Date(nowMs).toISOString(),
    ...message,
    headers: Object.fromEntries(message.headers ?? []),
    ...(text === undefined ? { bodyBase64: Buffer.from(message.body).toString('base64'), body: undefined } : { body: text }),
    tries,
    outcome: outcome.outcome,
    reason: outcome.reason,
  });
}

/** The body as text where it is one, so that a person can read the log. */
function textOf(body: Uint8Array): string | undefined {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(body);
  } catch {
    return undefined;
  }
}
