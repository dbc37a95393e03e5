import { describe, expect, it } from 'vitest';
import { attempt, call, run } from '../src/index.ts';

describe('steps', () => {
  it('give each call its value and end with the returned one', () => {
    const later: (() => void)[] = [];
    const seen: unknown[] = [];
    run(
      function* () {
        const one = yield* call<number>((done) => done(undefined, 1));
        const two = yield* call<number>((done) => later.push(() => done(undefined, 2)));
        return one + two;
      },
      (error, value) => seen.push(error, value),
    );
    expect(seen).toEqual([]);
    later.shift()!();
    expect(seen).toEqual([undefined, 3]);
  });

  it('turn an error row into a thrown error that keeps its code', () => {
    let seen: Error | undefined;
    run(
      function* () {
        yield* call((done) => done({ code: 'ENOENT', message: 'no such file' }, undefined));
      },
      (error) => (seen = error),
    );
    expect(seen).toMatchObject({ code: 'ENOENT', message: 'no such file' });
  });

  it('let the sequence catch what a call reports or throws', () => {
    const seen: unknown[] = [];
    run(
      function* () {
        const tried = yield* attempt<number, { code: string }>((done) => done({ code: 'EIO' }, 0));
        seen.push(tried.error?.code);
        try {
          yield* call(() => {
            throw new Error('at once');
          });
        } catch (error) {
          seen.push((error as Error).message);
        }
        return 'end';
      },
      (error, value) => seen.push(error, value),
    );
    expect(seen).toEqual(['EIO', 'at once', undefined, 'end']);
  });

  it('report an exception thrown between calls', () => {
    let seen: Error | undefined;
    run(
      function* () {
        yield* call((done) => done(undefined, undefined));
        throw new Error('impossible state');
      },
      (error) => (seen = error),
    );
    expect(seen?.message).toBe('impossible state');
  });

  it('make a hundred thousand synchronous calls without growing the stack', () => {
    let total = 0;
    run(
      function* () {
        for (let n = 0; n < 100_000; n++) total += yield* call<number>((done) => done(undefined, 1));
      },
      () => {},
    );
    expect(total).toBe(100_000);
  });

  it('tell a callee that answers twice', () => {
    let answer: (error: unknown, value: void) => void = () => {};
    run(
      function* () {
        yield* call((done) => (answer = done));
      },
      () => {},
    );
    answer(undefined, undefined);
    expect(() => answer(undefined, undefined)).toThrow('a step answered twice');
  });
});
