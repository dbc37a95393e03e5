/** What the contract needs of a library: its own transaction, a nested one, and a statement, all by the library's own means. */
import type { Database, Handle, Root } from '@tallystick/reliable';

export interface LibraryUnderTest {
  /** As in the capability table. */
  readonly name: string;
  open(url: string): Promise<Opened>;
}

export interface Opened {
  readonly root: Root;
  /** The library's own transaction. */
  begin<T>(work: (tx: Handle) => Promise<T>): Promise<T>;
  /** The library's own nested transaction, a savepoint; it may fail. */
  nested<T>(tx: Handle, work: (inner: Handle) => Promise<T>): Promise<T>;
  /** One statement without values, by the library. */
  run(tx: Database, text: string): Promise<unknown>;
  close(): Promise<void>;
}
