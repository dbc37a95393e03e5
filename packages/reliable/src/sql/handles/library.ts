/**
 * What one file per library fills in: how its values are recognised, and how they look as the small asynchronous interface. Nothing
 * here imports a library; a shape that is not there means "not mine".
 */
import type { AsyncHandle } from '../handles.ts';

export interface Library {
  /** As its users call it. */
  readonly name: string;
  /** `given` as one connection or one transaction; undefined when it is none of this library. */
  handle(given: object): AsyncHandle | undefined;
  /** `given` as something transactions are begun from; undefined when it is none of this library. */
  root(given: object): LibraryRoot | undefined;
}

export interface LibraryRoot {
  readonly dialect: AsyncHandle['dialect'];
  /** Its commit returns without an error when the database made a rollback of it, so the driver has to be watched. */
  readonly hidesFailedCommit: boolean;
  /**
   * The library's own transaction around `work`, which gets the library's own handle. When `givenUp` is aborted, nobody waits for it any
   * more: where the connection is known here (pg), it is closed at once, even under a statement without an answer. A library that keeps
   * its connections to itself keeps that one, too, until it notices.
   */
  readonly begin: <T>(work: (tx: object) => Promise<T>, givenUp?: AbortSignal) => Promise<T>;
  /** A connection for background work, with no transaction open on it. */
  readonly borrow: () => Promise<Borrowed>;
}

export interface Borrowed {
  readonly handle: AsyncHandle;
  /** A broken connection is closed instead of being used again. */
  readonly giveBack: (broken: boolean) => void | Promise<void>;
}

/** A member of a value of unknown shape. */
export function member(given: unknown, name: string): unknown {
  return given === null || given === undefined ? undefined : (given as Record<string, unknown>)[name];
}

/** What it is when it is a text, else the empty one. */
export function textOr(given: unknown): string {
  return typeof given === 'string' ? given : '';
}

/** Whether all of these members are functions. */
export function hasMethods(given: unknown, ...names: string[]): boolean {
  return names.every((name) => typeof member(given, name) === 'function');
}
