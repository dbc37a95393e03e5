/**
 * COPY out of pg as bytes. The driver reads every other value as text, so bytes arrive as hexadecimal, twice as large, and have to be
 * converted on both sides; a COPY is handed on as it came. It uses what pg offers to packages of its own (`submit`), and the simple
 * protocol, which leaves nothing behind in the session.
 */

/** What of pg's connection is used. */
interface PgWire {
  query(text: string): void;
}

/** One COPY, as pg wants a query: it is told what the server says. */
class CopyOut {
  readonly #text: string;
  readonly #done: (error: unknown, rows: readonly Buffer[]) => void;
  readonly #rows: Buffer[] = [];
  #room = Buffer.alloc(0);
  #ended = false;
  /** Called by the driver's own time limit. */
  callback: (error?: unknown) => void = (error) => {
    if (error !== undefined && error !== null) this.#end(error);
  };

  constructor(text: string, done: (error: unknown, rows: readonly Buffer[]) => void) {
    this.#text = text;
    this.#done = done;
  }

  submit(connection: PgWire): void {
    connection.query(this.#text);
  }

  /** The driver's buffer is used again, so each row is copied, many into one piece of memory. */
  handleCopyData({ chunk }: { readonly chunk: Buffer }): void {
    const { length } = chunk;
    if (length > this.#room.length) this.#room = Buffer.allocUnsafe(Math.max(ROOM_BYTES, length));
    const row = this.#room.subarray(0, length);
    chunk.copy(row);
    this.#room = this.#room.subarray(length);
    this.#rows.push(row);
  }

  handleReadyForQuery(): void {
    this.#end(undefined);
  }

  handleError(error: unknown): void {
    this.#end(error);
  }

  handleRowDescription(): void {}
  handleDataRow(): void {}
  handleCommandComplete(): void {}
  handleEmptyQuery(): void {}
  handlePortalSuspended(): void {}
  handleCopyInResponse(): void {}

  #end(error: unknown): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#done(error, this.#rows);
  }
}

const ROOM_BYTES = 256 * 1024;

/** Runs `copy (…) to stdout (format binary)`; the messages of the data rows, as the server sent them. */
export function copyOut(client: { query(query: unknown): unknown }, text: string): Promise<readonly Buffer[]> {
  return new Promise((resolve, reject) => {
    client.query(new CopyOut(text, (error, rows) => (error === undefined ? resolve(rows) : reject(error as Error))));
  });
}
