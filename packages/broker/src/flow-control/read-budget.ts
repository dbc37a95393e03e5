import type { Clock, Wire } from '@tallystick/base';
import type { Peer } from '@tallystick/remoting';
import { connectionOf } from '../connection.ts';

/**
 * Bounds how long one turn of the loop reads. A socket may hand out 32 reads of 128 KiB before the next one has its turn, and nothing
 * else happens meanwhile: no answer leaves, no control request is looked at. After {@link READ_MS} the connections that have more to
 * say than one read takes rest until the end of the turn, and those that were not read come first in the next one.
 *
 * What has been read is handed on to its end before a connection rests: nothing lies here read and unseen, and what is not read stays in
 * the sockets, and in time with the other side. A connection that says little never rests: it may say something that is urgent. A thousand
 * that say a little each are why the owner is told when time is up, and lets wait what can.
 */
export class ReadBudget {
  readonly #clock: Clock;
  readonly #onBegin: () => void;
  readonly #onSpent: () => void;
  /** Connections that had more to say than one read takes, the one longest unread first. */
  readonly #busy = new Set<Reader>();
  #beganMs = NEVER;
  #isSpent = false;
  /** Connections that rest. */
  resting = 0;
  /** Bytes that were read, ever. */
  readBytes = 0;

  /** `onBegin`: something is read for the first time in this turn; `end` must be called at its end. `onSpent`: its time for reading is up. */
  constructor(clock: Clock, onBegin: () => void, onSpent: () => void) {
    this.#clock = clock;
    this.#onBegin = onBegin;
    this.#onSpent = onSpent;
  }

  /** Watches what is read of a connection. */
  watch(peer: Peer, wire: Wire): void {
    const reader: Reader = { peer, wire, isResting: false, isRead: false };
    const deliver = wire.onBytes;
    wire.onBytes = (chunk) => {
      if (this.#beganMs === NEVER) this.#begin();
      reader.isRead = reader.isResting;
      this.readBytes += chunk.length;
      deliver(chunk);
      this.#wasRead(reader, chunk.length);
    };
  }

  /** The turn ends: those that rest are read again, unless `rests` says no. */
  end(rests: (peer: Peer) => boolean): void {
    this.#beganMs = NEVER;
    this.#isSpent = false;
    for (const reader of this.#busy) {
      if (!reader.peer.isOpen) this.#forget(reader);
      else if (!reader.isResting) continue;
      else if (rests(reader.peer)) this.#rest(reader);
      else this.#resume(reader);
    }
  }

  #begin(): void {
    this.#beganMs = this.#clock.monotonic();
    this.#onBegin();
  }

  #wasRead(reader: Reader, bytes: number): void {
    if (bytes >= BUSY_BYTES) {
      // Anew, so that it is the last.
      this.#busy.delete(reader);
      this.#busy.add(reader);
      if (this.#isSpent) this.#rest(reader);
    } else if (!reader.isResting) this.#busy.delete(reader);
    if (this.#isSpent || this.#clock.monotonic() - this.#beganMs < READ_MS) return;
    this.#isSpent = true;
    this.#onSpent();
    for (const each of this.#busy) this.#rest(each);
  }

  #rest(reader: Reader): void {
    if (!reader.peer.isOpen || (reader.isResting && !reader.isRead)) return;
    if (!reader.isResting) this.resting++;
    reader.isResting = true;
    reader.isRead = false;
    reader.wire.pause();
  }

  #resume(reader: Reader): void {
    const { peer, wire } = reader;
    reader.isResting = reader.isRead = false;
    this.resting--;
    // One that is held for another reason is read again when that has gone.
    if (connectionOf(peer).holds === 0 && !peer.congested) wire.resume();
  }

  #forget(reader: Reader): void {
    if (reader.isResting) this.resting--;
    reader.isResting = false;
    this.#busy.delete(reader);
  }
}

interface Reader {
  readonly peer: Peer;
  readonly wire: Wire;
  isResting: boolean;
  /** It was read while it rested: its peer was held for another reason, and reads on since that has gone. */
  isRead: boolean;
}

/** A read that takes so much has not emptied its socket, or nearly. */
const BUSY_BYTES = 64 * 1024;

/** What is read in so long is answered in about as long again: a control request waits for two turns at most. */
const READ_MS = 5;

const NEVER = -1;
