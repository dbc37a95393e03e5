import { ManualTime } from '@tallystick/base/testing';
import { expect, test } from 'vitest';
import { performInTime, useInTime } from '../src/answer-in-time.ts';
import type { Connections } from '../src/sql/connections.ts';
import type { Session } from '../src/sql/session.ts';
import { plain, run, type Statement, type Steps } from '../src/sql/statement.ts';
import { settle } from './support/world.ts';

/** A connection whose answers come when the test says so. */
function slow() {
  const time = new ManualTime();
  const asked: string[] = [];
  const answers: (() => void)[] = [];
  const session = {
    kind: 'async',
    execute: ({ sql }: Statement) =>
      new Promise((resolve) => {
        asked.push(sql);
        answers.push(() => resolve({ rows: [], changes: 0 }));
      }),
  } as unknown as Session;
  const outcome = { said: 'none' };
  const begin = (steps: Steps<string>): void => {
    const performed = Promise.resolve(performInTime(session, steps, { databaseAfterMs: 1000, timers: time }));
    performed.then(
      (value) => (outcome.said = value),
      (error: { code?: string; message: string }) => (outcome.said = error.code ?? error.message),
    );
  };
  const answer = async (): Promise<void> => {
    answers.shift()?.();
    await settle(time, 3);
  };
  return { time, asked, session, outcome, begin, answer };
}

function* two(): Steps<string> {
  try {
    yield plain('one');
    yield plain('two');
    return 'done';
  } catch (error) {
    yield plain('undo');
    throw error;
  }
}

test('each statement has its own time', async () => {
  const { time, outcome, begin, answer } = slow();
  begin(two());
  for (let statement = 0; statement < 2; statement++) {
    await settle(time, 3);
    time.advance(999);
    await answer();
  }
  expect(outcome.said).toBe('done');
});

test('work that has no answer in time is given up; when one comes after all the work only undoes itself', async () => {
  const { time, asked, outcome, begin, answer } = slow();
  begin(two());
  await settle(time, 3);
  time.advance(1000);
  await settle(time, 3);
  expect([outcome.said, asked]).toEqual(['NO_ANSWER', ['one']]);
  await answer();
  expect(asked).toEqual(['one', 'undo']);
  time.advance(5000);
  await answer();
  expect([outcome.said, asked]).toEqual(['NO_ANSWER', ['one', 'undo']]);
});

test('a call inside is not an answer of the database, and takes as long as it takes', async () => {
  const { time, outcome, begin, answer } = slow();
  let end = (): void => undefined;
  begin(
    (function* (): Steps<string> {
      yield plain('one');
      yield* run({ call: () => new Promise<void>((resolve) => (end = resolve)) });
      yield plain('two');
      return 'done';
    })(),
  );
  await answer();
  time.advance(60_000);
  end();
  await settle(time, 3);
  await answer();
  expect(outcome.said).toBe('done');
});

test('a connection that no pool lends in time is given up, and goes back as it came when it is lent after all', async () => {
  const { time, asked, session } = slow();
  const back: unknown[] = [];
  let lend = (): void => undefined;
  const connections = {
    areLent: true,
    async use(work: (lent: Session) => unknown) {
      await new Promise<void>((resolve) => (lend = resolve));
      back.push(await work(session));
    },
  } as unknown as Connections;
  const outcome = { said: 'none' };
  useInTime(connections, two, { databaseAfterMs: 1000, timers: time }).then(
    () => (outcome.said = 'done'),
    (error: { code: string }) => (outcome.said = error.code),
  );
  time.advance(999);
  await settle(time, 3);
  expect(outcome.said).toBe('none');
  time.advance(1);
  await settle(time, 3);
  expect(outcome.said).toBe('NO_ANSWER');
  lend();
  await settle(time, 3);
  expect([asked, back]).toEqual([[], [undefined]]);
});
