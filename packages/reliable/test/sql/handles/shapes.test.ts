import { describe, expect, test } from 'vitest';
import { transaction, type Handle } from '../../../src/index.ts';
import { arrayLiteral } from '../../../src/sql/handles/array-literal.ts';
import { givesRows } from '../../../src/sql/handles/prisma.ts';
import { recogniseHandle, recogniseRoot } from '../../../src/sql/handles/recognise.ts';
import { Turns } from '../../../src/sql/handles/turns.ts';
import { sessionOf } from '../../../src/sql/session.ts';
import { isRefusal, sqlStateOf } from '../../../src/sql/sql-state.ts';

test('what no library knows is refused by name', () => {
  for (const unknown of [undefined, null, 7, 'postgres://', {}, [], () => undefined, new Map(), { query: () => undefined }]) {
    expect(recogniseHandle(unknown)).toBeUndefined();
    expect(recogniseRoot(unknown)).toBeUndefined();
  }
  expect(() => sessionOf({ query: () => undefined } as unknown as Handle)).toThrow(
    expect.objectContaining({ code: 'UNKNOWN_HANDLE' }),
  );
  expect(() => transaction({} as Handle, () => undefined)).toThrow(expect.objectContaining({ code: 'UNKNOWN_HANDLE' }));
});

test('lists are written as PostgreSQL writes arrays', () => {
  expect(arrayLiteral([])).toBe('{}');
  expect(arrayLiteral([1, null, -2])).toBe('{1,null,-2}');
  expect(arrayLiteral(['a', 'b"c\\', '', 'null', 'x,y'])).toBe('{"a","b\\"c\\\\","","null","x,y"}');
  expect(arrayLiteral([Uint8Array.of(0, 255), Buffer.from('A')])).toBe('{"\\\\x00ff","\\\\x41"}');
});

describe('whether a statement gives rows', () => {
  test.each([
    ['select 1', true],
    ['  WITH a AS (SELECT 1) SELECT * FROM a', true],
    ['with a as (insert into t values (1) returning id) select id from a', true],
    ['with a as (insert into t values (1) returning id) insert into u select id from a returning id', true],
    ['with a as (insert into t values (1) returning id) insert into u select id from a', false],
    ['insert into t values ($1) returning id', true],
    ['insert into t values ($1)', false],
    ['update t set a = (select 1)', false],
    ['delete from t where id = any($1)', false],
    ['create table t (a int)', false],
  ])('%s: %s', (text, rows) => expect(givesRows(text)).toBe(rows));
});

describe('the SQLSTATE of an error', () => {
  test('is found however the library wraps it', () => {
    const driver = Object.assign(new Error('taken'), { code: '23505' });
    expect(sqlStateOf(driver)).toBe('23505');
    expect(sqlStateOf(new Error('Drizzle', { cause: driver }))).toBe('23505');
    expect(sqlStateOf(Object.assign(new Error('TypeORM'), { driverError: driver }))).toBe('23505');
    const prisma = {
      code: 'P2010',
      meta: { driverAdapterError: { name: 'DriverAdapterError', cause: { originalCode: '40P01' } } },
    };
    expect(sqlStateOf(prisma)).toBe('40P01');
  });

  test('is none in errors of the connection, and in what is no error', () => {
    for (const other of [
      Object.assign(new Error('x'), { code: 'ECONNRESET' }),
      { code: 'P2028' },
      { code: 'EPIPE' },
      null,
      'x',
      { cause: 7 },
    ])
      expect(sqlStateOf(other)).toBeUndefined();
    const circle: { cause?: unknown } = {};
    circle.cause = circle;
    expect(sqlStateOf(circle)).toBeUndefined();
  });

  test('says whether nothing was committed', () => {
    expect(isRefusal({ code: '23503' })).toBe(true);
    expect(isRefusal({ code: '40001' })).toBe(true);
    for (const code of ['57P01', '57P02', '08006', '58030', 'ECONNRESET']) expect(isRefusal({ code })).toBe(false);
  });
});

test('work on one connection never overlaps, whatever fails', async () => {
  const turns = new Turns();
  const log: string[] = [];
  const work = (name: string, fails: boolean) => async (): Promise<string> => {
    log.push(`${name} begins`);
    await Promise.resolve();
    log.push(`${name} ends`);
    if (fails) throw new Error(name);
    return name;
  };
  const all = await Promise.allSettled([turns.run(work('a', false)), turns.run(work('b', true)), turns.run(work('c', false))]);
  expect(all.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled']);
  expect(log).toEqual(['a begins', 'a ends', 'b begins', 'b ends', 'c begins', 'c ends']);
  expect(await turns.run(work('d', false))).toBe('d');
});
