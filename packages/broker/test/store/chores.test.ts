import { call, type Steps } from '@tallystick/base';
import { expect, it } from 'vitest';
import { Chores } from '../../src/store/chores.ts';

/** Chores that end one by one, when they are told to. */
function bench() {
  const begun: string[] = [];
  const ends: (() => void)[] = [];
  const work = (name: string) =>
    function* (): Steps<void> {
      begun.push(name);
      yield* call<void>((done) => ends.push(() => done(undefined, undefined)));
    };
  const endAll = (): void => {
    while (ends.length > 0) ends.shift()!();
  };
  return { chores: new Chores(), begun, ends, work, endAll };
}

it('a chore that somebody waits for comes before those that have not begun', () => {
  const { chores, begun, work, endAll } = bench();
  const ended: string[] = [];
  chores.add(work('snapshot'), () => ended.push('snapshot'));
  chores.add(work('index'), () => ended.push('index'));
  chores.addFirst(work('segment'), () => ended.push('segment'));
  endAll();
  expect(begun).toEqual(['snapshot', 'segment', 'index']);
  expect(ended).toEqual(begun);
  chores.stop(() => ended.push('idle'));
  chores.addFirst(work('late'), (error) => ended.push(error!.message));
  expect(ended.slice(3)).toEqual(['idle', 'the store is closing']);
});

it('chores that somebody waits for and that ask for the next one when they end let the others through, one at a time', () => {
  const { chores, begun, ends, work, endAll } = bench();
  let left = 10;
  const urgent = (): void => {
    if (left-- > 0) chores.addFirst(work('segment'), urgent);
  };
  urgent();
  for (const name of ['snapshot', 'index', 'retention']) chores.add(work(name), () => {});
  for (let n = 0; n < 6; n++) ends.shift()!();
  expect(begun).toEqual(['segment', 'snapshot', 'segment', 'index', 'segment', 'retention', 'segment']);
  endAll();
  expect(begun).toHaveLength(13);
});

it('however often somebody waits, no more than eight others fall behind: what they hold is memory', () => {
  const { chores, begun, work, endAll } = bench();
  for (let n = 0; n < 13; n++) chores.add(work(`index ${n}`), () => {});
  // One has begun, twelve wait.
  chores.addFirst(work('segment'), () => {});
  endAll();
  expect(begun.indexOf('segment')).toBe(5);
  // Two others for each that comes first: they never fall further behind.
  begun.length = 0;
  let asked = 0;
  let most = 0;
  const urgent = (): void => {
    if (asked++ === 100) return;
    for (let n = 0; n < 2; n++) chores.add(work('index'), () => {});
    most = Math.max(most, chores.waiting);
    chores.addFirst(work('segment'), urgent);
  };
  urgent();
  endAll();
  expect(begun.filter((name) => name === 'index')).toHaveLength(200);
  expect(most).toBeLessThanOrEqual(10);
});
