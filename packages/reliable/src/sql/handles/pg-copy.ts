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
  readonly #done: (error: unknown, pieces: readonly Buffer[]) => void;
  readonly #pieces: Buffer[] = [];
  #piece = Buffer.alloc(0);
  #used = 0;
  #ended = false;
  /** The driver's own time limit calls it, and puts one of its own here, whose call ends that limit. */
  callback: (error?: unknown) => void = (error) => {
    if (error !== undefined && error !== null) this.#end(error);
  };

  constructor(text: string, done: (error: unknown, pieces: readonly Buffer[]) => void) {
    this.#text = text;
    this.#done = done;
  }

  submit(connection: PgWire): void {
    connection.query(this.#text);
  }

  /** The driver's buffer is used again, so each row is copied, many into one piece of memory. */
  handleCopyData({ chunk }: { readonly chunk: Buffer }): void {
    if (this.#ended) return;
    const end = this.#used + chunk.length;
    if (end > this.#piece.length) {
      this.#keep();
      this.#piece = Buffer.allocUnsafeSlow(Math.max(PIECE_BYTES, chunk.length));
    }
    this.#used += chunk.copy(this.#piece, this.#used);
  }

  #keep(): void {
    if (this.#used > 0) this.#pieces.push(this.#piece.subarray(0, this.#used));
    this.#used = 0;
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
    this.#keep();
    this.#done(error, this.#pieces);
    this.callback(error);
  }
}

const PIECE_BYTES = 256 * 1024;

/** Runs `copy (…) to stdout (format binary)`; the stream as the server sent it, in pieces that end where a row ends. */
export function copyOut(client: { query(query: unknown): unknown }, text: string): Promise<readonly Buffer[]> {
  return new Promise((resolve, reject) => {
    client.query(new CopyOut(text, (error, pieces) => (error === undefined ? resolve(pieces) : reject(error as Error))));
  });
}
