/**
 * The ports through which core code reaches the world (time, randomness, disk, sockets). Core packages never name a global for
 * any of these; a shell hands in the real ones, the simulator its own. None of the interfaces knows a promise: every effect ends
 * in a callback, so one seeded scheduler can decide the order of everything.
 */

/** Reads time. Core code takes one reading per event and passes it down. */
export interface Clock {
  /** Wall-clock time in ms since 1970; may jump. Only for what is stored or shown. */
  now(): number;
  /** Monotonic time in ms from an arbitrary start; never goes back. For waits, leases and time-outs. */
  monotonic(): number;
}

/** A pending timer; opaque. */
export type Timer = object;

/** Runs something later, once. */
export interface Timers {
  /** Calls `run` after `ms` milliseconds of monotonic time, never synchronously. */
  after(ms: number, run: () => void): Timer;
  /** Forgets a timer; harmless when it has run. */
  cancel(timer: Timer): void;
}

/** The only source of randomness in core code. */
export interface Random {
  /** An integer in [0, 2^32). */
  u32(): number;
}

/** The end of the present turn of the event loop: where batches close and connections write. */
export interface Turn {
  /** Calls `run` once when the present turn's input has been handled, never synchronously. */
  atEnd(run: () => void): void;
}

/** What a failed disk call reports: the errno's name (`ENOSPC`, `EIO`, `ENOENT`…) and a sentence. */
export interface DiskError {
  readonly code: string;
  readonly message: string;
}

export type DiskDone = (error: DiskError | undefined) => void;

/** An open file. Positions and lengths are bytes. */
export interface DiskFile {
  readonly path: string;
  /** Writes all chunks back to back at `position`; short writes are continued inside. `done` after the last byte was accepted. */
  write(chunks: readonly Uint8Array[], position: number, done: DiskDone): void;
  /**
   * As `write`; when `done` reports no error these bytes are on the disk, too (O_DSYNC). One call to the pool of threads where `write` and
   * `sync` are two. Absent on files that cannot.
   */
  writeThrough?(chunks: readonly Uint8Array[], position: number, done: DiskDone): void;
  /** Reads up to `into.length` bytes at `position`; fewer only at the end of the file. */
  read(into: Uint8Array, position: number, done: (error: DiskError | undefined, bytesRead: number) => void): void;
  /** fdatasync: what was written before this call is on the disk when `done` reports no error. */
  sync(done: DiskDone): void;
  /** Length of the file in bytes. */
  size(done: (error: DiskError | undefined, bytes: number) => void): void;
  truncate(bytes: number, done: DiskDone): void;
  close(done: DiskDone): void;
}

/** One store's folder. Paths are relative to it, with `/`. */
export interface Disk {
  /** Opens a file for reading and writing; `create` makes it (empty) or truncates an existing one, `open` fails with ENOENT. */
  open(path: string, mode: 'open' | 'create', done: (error: DiskError | undefined, file: DiskFile) => void): void;
  /**
   * Gives an empty file that may be open the length `bytes` and its space on the disk without writing it: it reads as zeros, and no write within it
   * lacks space. False: it has neither, or only in part, whatever the reason; zeros can be written instead. Durable after a sync of the file.
   * Absent on disks that cannot.
   */
  allocate?(path: string, bytes: number, done: (isAllocated: boolean) => void): void;
  /** Makes a folder and its parents; not an error when present. */
  makeFolder(path: string, done: DiskDone): void;
  /** Names in a folder, sorted; an absent folder is empty. */
  list(path: string, done: (error: DiskError | undefined, names: readonly string[]) => void): void;
  rename(from: string, to: string, done: DiskDone): void;
  remove(path: string, done: DiskDone): void;
  /** fsync of a folder: creations, renames and removals inside it are on the disk afterwards. */
  syncFolder(path: string, done: DiskDone): void;
  /** Free and total bytes of the file system for whoever may write here; absent on a disk that cannot tell. */
  space?(done: (error: DiskError | undefined, freeBytes: number, totalBytes: number) => void): void;
  /** Identifies this boot of the machine; changes over a power cut, not over a killed process. */
  bootId(): string;
}

/**
 * One byte stream in both directions. The owner assigns the three callbacks before the first byte can arrive (adapters deliver
 * nothing in the turn of their creation). After `onClose` nothing more is called.
 */
export interface Wire {
  /** Sends bytes; the wire owns the chunk afterwards (see `isWritten`). False: wait for `onDrain` before sending much more. */
  write(chunk: Uint8Array): boolean;
  /** Whether nothing of what was given to `write` is held any more, so that its memory may be written again. Absent: never known. */
  isWritten?(): boolean;
  /** Bytes given to `write` that have not left this process: fewer with every byte that the other side takes. Absent: never known. */
  unsentBytes?(): number;
  /** Ends the stream: pending output is flushed if `graceful`, dropped otherwise. `onClose` follows, never synchronously. */
  close(graceful: boolean): void;
  /** Stops, respectively restarts, delivery of bytes (back-pressure to the other side). */
  pause(): void;
  resume(): void;
  /** Address of the other side, `host:port`. */
  readonly remote: string;
  /** A received chunk; valid only during the call unless copied. */
  onBytes: (chunk: Uint8Array) => void;
  onDrain: () => void;
  onClose: (reason: string) => void;
}

/** Opens wires to addresses. */
export interface Dialer {
  /** Calls `done` once, never synchronously, with a wire or the reason why there is none. */
  dial(address: string, done: (error: string | undefined, wire: Wire) => void): void;
}
