/**
 * amqplib gives each message to the socket by itself, a system call each: 2 to 4 µs per message of 1 KiB, and the broker reads in as small
 * pieces. Here the socket is held while a turn's messages are given to it, and what has gathered leaves at once.
 *
 * The driver's frames reach the socket in the check phase of the loop, and again whenever the socket has drained: it is held from the first
 * message of a turn to right behind that phase's first part, and during each drain event. Whatever the driver does at other times it writes as
 * ever; nothing waits longer than for the end of its turn.
 */
export interface GatheringStream {
  cork(): unknown;
  uncork(): unknown;
  prependListener(event: 'drain', listener: () => void): unknown;
}

export class Gathering {
  readonly #stream: GatheringStream;
  #held = false;
  readonly #letGo = (): void => {
    this.#held = false;
    this.#stream.uncork();
  };

  constructor(stream: GatheringStream) {
    this.#stream = stream;
    stream.prependListener('drain', () => {
      stream.cork();
      process.nextTick(() => stream.uncork());
    });
  }

  /** To be called when a message has been given to the driver. */
  written(): void {
    if (this.#held) return;
    this.#held = true;
    this.#stream.cork();
    // The driver learns in a tick of its own, behind the one of the message, that there is something to write, and takes an immediate for it.
    process.nextTick(() => setImmediate(this.#letGo));
  }
}

const known = new WeakMap<object, Gathering>();

/** Of the stream of a channel of amqplib; undefined for other channels, and streams that cannot be held. */
export function gatheringOf(channel: object): Gathering | undefined {
  const stream = (channel as { connection?: { stream?: Partial<GatheringStream> } }).connection?.stream;
  if (stream?.cork === undefined || stream.uncork === undefined || stream.prependListener === undefined) return undefined;
  let gathering = known.get(stream);
  if (gathering === undefined) known.set(stream, (gathering = new Gathering(stream as GatheringStream)));
  return gathering;
}
