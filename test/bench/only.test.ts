import { expect, test } from 'vitest';
import { chosen } from './only.ts';

const NAMES = ['drain-async', 'drain-sync', 'wal', 'latency-p99'];

test('works are chosen by pieces of their names, in their own order', () => {
  expect(chosen(NAMES, undefined)).toEqual(NAMES);
  expect(chosen(NAMES, 'drain')).toEqual(['drain-async', 'drain-sync']);
  expect(chosen(NAMES, 'wal, drain-s')).toEqual(['drain-sync', 'wal']);
});

test('a piece that is in no name is refused with the names there are', () => {
  expect(() => chosen(NAMES, 'drain,lateny')).toThrow(
    '--only: no work has "lateny" in its name; there are: drain-async, drain-sync, wal, latency-p99',
  );
  expect(() => chosen(NAMES, 'drain,')).toThrow('no work has ""');
  expect(() => chosen(NAMES, '')).toThrow('no work has ""');
});
