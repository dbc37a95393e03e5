/**
 * Straight-line code over callbacks: a generator yields calls, the driver starts each and feeds its result back. Recovery and
 * other sequences of disk calls read from top to bottom this way, stay synchronous when the callbacks are, and need no promise,
 * so the simulator sees every step. A thrown error, or a call's own, ends in `done`.
 *
 *     run(function* () {
 *       const file = yield* call<DiskFile>((done) => disk.open('a', 'open', done));
 *       return yield* call<number>((done) => file.size(done));
 *     }, (error, bytes) => …);
 */
export function run<T>(steps: () => Steps<T>, done: (error: Error | undefined, value: T) => void): void {
  const generator = steps();
  let outcome: Outcome | undefined;
  let inLoop = false;

  // Callbacks that come while the loop below is running only leave their outcome for it: a million synchronous calls need no stack.
  const resume = (error: unknown, value: unknown): void => {
    outcome = { error, value };
    if (!inLoop) advance();
  };

  const advance = (): void => {
    inLoop = true;
    let next: IteratorResult<Start, T>;
    try {
      for (;;) {
        const now: Outcome = outcome ?? NOTHING;
        outcome = undefined;
        next = generator.next(now);
        if (next.done === true) break;
        const answer = once(resume);
        try {
          next.value(answer);
        } catch (thrown) {
          answer(thrown, undefined);
        }
        if (outcome === undefined) return;
      }
    } catch (thrown) {
      finish(asError(thrown), undefined);
      return;
    } finally {
      inLoop = false;
    }
    finish(undefined, next.value);
  };

  const finish = (error: Error | undefined, value: T | undefined): void => done(error, value as T);

  advance();
}

/** A sequence of calls that ends with a `T`. */
export type Steps<T> = Generator<Start, T, Outcome>;

/** Makes one call and gives its value; throws its error (a row like `DiskError` becomes an Error with the same `code`). */
export function* call<T = void>(start: (done: (error: unknown, value: T) => void) => void): Steps<T> {
  const { error, value } = yield start as Start;
  if (error !== undefined && error !== null) throw asError(error);
  return value as T;
}

/** As {@link call}, but gives the error instead of throwing it: for failures that are part of the plan. */
export function* attempt<T = void, E = unknown>(
  start: (done: (error: E | undefined, value: T) => void) => void,
): Steps<{ readonly error: E | undefined; readonly value: T }> {
  const { error, value } = yield start as Start;
  return { error: error as E | undefined, value: value as T };
}

type Start = (resume: (error: unknown, value: unknown) => void) => void;

interface Outcome {
  readonly error: unknown;
  readonly value: unknown;
}

const NOTHING: Outcome = { error: undefined, value: undefined };

/** A callback that is called twice would run the rest of the sequence twice: the second call is a fault of the callee. */
function once(resume: (error: unknown, value: unknown) => void): (error: unknown, value: unknown) => void {
  let called = false;
  return (error, value) => {
    if (called) throw new Error('a step answered twice');
    called = true;
    resume(error, value);
  };
}

function asError(thrown: unknown): Error {
  if (thrown instanceof Error) return thrown;
  if (typeof thrown === 'object' && thrown !== null && 'message' in thrown) {
    const error = new Error(String(thrown.message), { cause: thrown });
    return Object.assign(error, 'code' in thrown ? { code: thrown.code } : {});
  }
  return new Error(String(thrown), { cause: thrown });
}
