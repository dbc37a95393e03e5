/**
 * One attempt at a message: everything in one transaction, under three guards against a repeated effect.
 *
 * ```
 * lock            a row lease by a name of the business; waited for before the transaction, fenced at its end
 * alreadyDone     the business looks for the effect: there already is success without work
 * unique key      the message's id, written in the transaction of the effect: the last guard, and the only one that cannot fail
 * ```
 *
 * Inside: key, alreadyDone, handler (with what it emits and calls), the confirmation that the sender asked for, what comes last, the end of
 * the lock.
 * Attempts know nothing of retries; what becomes of a failed message is decided by the inbox.
 */
import { backoffMs, type Clock, type Random, type Timers } from '@tallystick/base';
import type { CallRequest } from '../call/call.ts';
import { fail } from '../errors.ts';
import type { NewMessage } from '../outbox/message-types.ts';
import { pause } from '../waits.ts';
import type { Answer } from '../sql/handles.ts';
import type { Session } from '../sql/session.ts';
import { plain, run, type Steps } from '../sql/statement.ts';
import { receivedOf, type HandlerContext, type Rule } from './handlers.ts';
import type { InboxDatabase } from './inbox-database.ts';
import type { KnownDelivery } from './kept.ts';
import { endLock, type Locks, type LockTicket } from './locks.ts';
import { limited, type Limited } from './time-limit.ts';
import type { InboxAlarm } from './inbox-alarm.ts';

export type AttemptResult =
  /** `handled`: committed. `duplicate`: it was there already. `behind`: an earlier message of its key is not settled. */
  { readonly kind: 'handled' | 'duplicate' | 'behind' } | { readonly kind: 'failed'; readonly error: unknown };

export interface Attempt<Tx> {
  readonly delivery: KnownDelivery;
  readonly rule: Rule<Tx>;
  /** Failures before this one. */
  readonly attempts: number;
  /** Writes the key; only `marked` goes on. */
  mark(): Steps<'marked' | 'duplicate' | 'behind'>;
  /** The last of its writes but the end of its lock. */
  last?(): Steps<void>;
}

/** What handlers may do beside their own SQL. */
export interface Effects<Tx> {
  emit(tx: Tx, message: NewMessage): Answer<Tx, string>;
  call(tx: Tx, request: CallRequest): Answer<Tx, string>;
  /** The confirmation that the sender asked for, in the same transaction. */
  confirm(tx: Tx, delivery: KnownDelivery): unknown;
}

export interface AttemptPorts<Tx> {
  readonly database: InboxDatabase<Tx>;
  readonly locks: Locks;
  readonly effects: Effects<Tx>;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly random: Random;
  readonly tell: (alarm: InboxAlarm) => void;
  /** By session: the id of the message whose handler is at work in its transaction. */
  readonly atWork: WeakMap<object, string>;
}

/** Never rejects. A conflict with another transaction is tried again at once, a few times. */
export async function attemptAt<Tx>(attempt: Attempt<Tx>, ports: AttemptPorts<Tx>): Promise<AttemptResult> {
  const { conflictsMax } = attempt.rule.options;
  for (let conflicts = 0; ; conflicts++) {
    try {
      return { kind: await locked(attempt, ports) };
    } catch (error) {
      if (conflicts >= conflictsMax || !ports.database.isConflict(error)) return { kind: 'failed', error };
      await pause(backoffMs(CONFLICT_WAIT, conflicts + 1, ports.random.u32()), ports.timers);
    }
  }
}

const CONFLICT_WAIT = { firstMs: 2, maxMs: 100 };

type Done = 'handled' | 'duplicate' | 'behind';

async function locked<Tx>(attempt: Attempt<Tx>, ports: AttemptPorts<Tx>): Promise<Done> {
  const { lock, options } = attempt.rule;
  if (lock === undefined) return inTransaction(attempt, undefined, ports);
  const ticket = await ports.locks.acquire(lock(attempt.delivery), options);
  let done: Done | undefined;
  try {
    done = await inTransaction(attempt, ticket, ports);
    return done;
  } finally {
    // A handled message has given its lock back with its commit.
    if (done !== 'handled') await ports.locks.release(ticket);
  }
}

async function inTransaction<Tx>(attempt: Attempt<Tx>, ticket: LockTicket | undefined, ports: AttemptPorts<Tx>): Promise<Done> {
  const abort = new AbortController();
  const open = { yes: true };
  let late: Error | undefined;
  try {
    return await new Promise<Done>((resolve, reject) => {
      const leave = (error: Error): void => reject((late = error));
      const work = ports.database.transaction((tx, session) =>
        steps({ attempt, ticket, tx, session, abort, open, leave, ports }),
      );
      // A library may fail to roll back a connection that is cut: the reason is the handler's.
      work.then(resolve, (error: unknown) => reject(late ?? (error as Error)));
    });
  } finally {
    open.yes = false;
  }
}

interface Inside<Tx> {
  readonly attempt: Attempt<Tx>;
  readonly ticket: LockTicket | undefined;
  readonly tx: Tx;
  readonly session: Session;
  readonly abort: AbortController;
  readonly open: { yes: boolean };
  /** The attempt has failed, whenever its transaction ends. */
  readonly leave: (error: Error) => void;
  readonly ports: AttemptPorts<Tx>;
}

function* steps<Tx>(inside: Inside<Tx>): Steps<Done> {
  const { attempt, ticket, tx, session, open, ports } = inside;
  const { delivery } = attempt;
  const marked = yield* attempt.mark();
  if (marked !== 'marked') return marked;
  ports.atWork.set(session, delivery.id);
  try {
    yield* handle(inside);
  } finally {
    ports.atWork.delete(session);
  }
  open.yes = false;
  yield* run({ call: () => ports.effects.confirm(tx, delivery) });
  if (attempt.last !== undefined) yield* attempt.last();
  if (ticket !== undefined) yield* endLock(session.dialect, ticket);
  return 'handled';
}

function* handle<Tx>(inside: Inside<Tx>): Steps<void> {
  const { attempt, tx, session, abort, ports } = inside;
  const { delivery, rule } = attempt;
  const { handler, options } = rule;
  const alreadyDone = (): unknown => rule.alreadyDone?.(tx, delivery);
  const work = (): unknown => handler(receivedOf(delivery), contextOf(inside));
  if (session.kind === 'sync') {
    const already = yield* run({ call: alreadyDone });
    if (already.value !== true) yield* run({ call: work });
    return;
  }
  const both = async (): Promise<void> => {
    if ((await alreadyDone()) === true || abort.signal.aborted) return;
    await work();
  };
  const { value } = yield* run({ call: () => limited(both, options.handlerTimeoutMs, abort, ports.timers) });
  const limit = value as Limited;
  if (limit.ended) return;
  yield* leaveBehind(inside, limit);
  throw limit.error;
}

/**
 * A handler that runs on must not write on a connection that somebody else gets next. Where that can be done without harm its connection is
 * cut. Else its transaction is spoilt, which undoes all it did, frees its locks and refuses whatever it does yet; the connection stays with
 * it until it ends, and the attempt does not wait for that.
 */
function* leaveBehind<Tx>(inside: Inside<Tx>, { error, end }: Limited & { readonly ended: false }): Steps<void> {
  const { session, attempt, leave, ports } = inside;
  const { cutOff } = session.dialect;
  if (cutOff === undefined) return;
  if (ports.database.canBeCut) {
    leave(error);
    yield* quietly(cutOff);
    return;
  }
  yield* quietly(SPOIL);
  leave(error);
  ports.tell({ kind: 'hanging', id: attempt.delivery.id, reason: `${error.message}; it holds its connection until it ends` });
  yield* run({ call: () => end });
}

/** There is no such savepoint: the statement fails, and with it the transaction. */
const SPOIL = 'rollback to savepoint tallystick_spoilt';

function* quietly(sql: string): Steps<void> {
  try {
    yield plain(sql, true);
  } catch {
    // That is what it looks like when it works.
  }
}

function contextOf<Tx>({ attempt, tx, abort, open, ports }: Inside<Tx>): HandlerContext<Tx> {
  const whileOpen = (): void => {
    if (!open.yes || abort.signal.aborted) throw fail('HANDLER_OVER');
  };
  return {
    tx,
    emit: (message) => (whileOpen(), ports.effects.emit(tx, message)),
    call: (request) => (whileOpen(), ports.effects.call(tx, request)),
    signal: abort.signal,
    attempts: attempt.attempts,
  };
}
