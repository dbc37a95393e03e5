import { Hold, type Connection } from '../connection.ts';

/**
 * Sends that were taken in and are not answered yet, in all and per connection. It refuses nothing: when a connection has too many it
 * is not read until half are answered, and the lane of sends looks at the sum (see `store-gate.ts`). Confirmations, offsets and
 * heartbeats are not counted: what has been accepted must be able to end even when nothing new can begin.
 */
export class Admission {
  /** Unanswered sends, and their bytes in the log, roughly. */
  count = 0;
  bytes = 0;
  /** Bytes of all sends answered so far: what the store's speed is read from. */
  doneBytes = 0;
  /** The oldest write of the log has been under way for too long: a put is refused. Set by `DiskWatch`. */
  isPageCacheBusy = false;
  readonly #countMax: number;
  readonly #bytesMax: number;

  /** Limits of one connection. */
  constructor(countMax: number, bytesMax: number) {
    this.#countMax = countMax;
    this.#bytesMax = bytesMax;
  }

  enter(connection: Connection, bytes: number): void {
    this.count++;
    this.bytes += bytes;
    connection.sends++;
    connection.sendBytes += bytes;
    if (connection.sends > this.#countMax || connection.sendBytes > this.#bytesMax) connection.hold(Hold.SENDS);
  }

  leave(connection: Connection, bytes: number): void {
    this.count--;
    this.bytes -= bytes;
    this.doneBytes += bytes;
    connection.sends--;
    connection.sendBytes -= bytes;
    if (connection.holds !== 0 && connection.sends <= this.#countMax / 2 && connection.sendBytes <= this.#bytesMax / 2)
      connection.release(Hold.SENDS);
  }
}
