/** Work of one transaction that is begun together, as a consumer of batches does it. */
import { expect, test } from 'vitest';
import { transaction } from '@tallystick/reliable';
import { bank } from './bank.ts';

const soon = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

test('once() of several messages at a time in one transaction: what fails leaves no key, what works keeps its own', async () => {
  const here = await bank();
  const inbox = await here.inbox();
  const book = (tx: { query(sql: string, values: string[]): Promise<unknown> }, name: string): Promise<unknown> =>
    tx.query('insert into effect (name) values ($1)', [name]);
  await transaction(here.pool, async (tx) => {
    await Promise.allSettled([
      inbox.once(tx, 'fails', async () => {
        await book(tx, 'fails');
        await soon(20);
        throw new Error('refused');
      }),
      inbox.once(tx, 'works', async () => {
        await book(tx, 'works');
        await soon(60);
      }),
    ]);
  });
  const keys = await here.rows('select id from tallystick_inbox order by id');
  expect([await here.rows('select name from effect order by name'), keys]).toEqual([['works'], ['works']]);
});

test('once() inside of once() does not wait for the one around it', async () => {
  const here = await bank();
  const inbox = await here.inbox();
  await transaction(here.pool, async (tx) => {
    await inbox.once(tx, 'outer', async () => {
      await Promise.all(['a', 'b'].map((key) => inbox.once(tx, key, () => inbox.once(tx, `${key}-inner`, () => undefined))));
    });
  });
  expect(await here.rows('select id from tallystick_inbox order by id')).toEqual(['a', 'a-inner', 'b', 'b-inner', 'outer']);
});
