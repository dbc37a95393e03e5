/**
 * What the contract of transports and subscribers needs of a broker: both sides over it, places in it, and, where it can be killed, a hand
 * that does. What a broker cannot do is in its capability table, and the contract asserts that it cannot.
 */
import type { Subscriber, Transport } from '@tallystick/reliable';

export interface Capabilities {
  /** Knows that nothing takes a message; otherwise a place is made for it. */
  readonly unroutable: boolean;
  /** Keeps what it confirmed over a kill, and can be killed here. */
  readonly survivesKill: boolean;
  /** Says of a delivery that it is not the first. */
  readonly tellsRedelivery: boolean;
  /** Longest body that the contract sends, bytes. */
  readonly largeBytes: number;
  /** Whether several keys of one queue are received side by side, so that one that fails does not hold the others. */
  readonly keysApart: boolean;
}

export interface BrokerWorld {
  readonly transport: Transport;
  /** A consumer of its own, as in another process. */
  consumer(): Promise<Consumer>;
  /** A new queue or topic, by the name that messages and subscriptions use. */
  queue(): Promise<string>;
  /** Kills the broker's process and comes back when it is dead; `revive` starts it again with its data. */
  kill?(): Promise<void>;
  revive?(): Promise<void>;
  close(): Promise<void>;
}

export interface Consumer {
  readonly subscriber: Subscriber;
  /** It is gone without a word; nobody hears its receipts. */
  die(): Promise<void>;
}

export interface Backend {
  readonly name: string;
  readonly capabilities: Capabilities;
  readonly open: () => Promise<BrokerWorld>;
}

export async function until(what: () => boolean | Promise<boolean>, within = 60_000, why = ''): Promise<void> {
  for (const end = performance.now() + within; !(await what());) {
    if (performance.now() > end) throw new Error(`not within ${within} ms: ${why || what.toString()}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/** A promise and the hand that resolves it. */
export function gate<T = void>(): { readonly promise: Promise<T>; readonly open: (value: T) => void } {
  let open!: (value: T) => void;
  const promise = new Promise<T>((resolve) => (open = resolve));
  return { promise, open };
}
