/** What a person has buried goes in the end, while another person takes it back: one of the two, whole. */
import { createMonitor, type AsyncHandle } from '@tallystick/reliable';
import { expect, test } from 'vitest';
import { connected, until, WAITING_FOR_LOCK } from '../support/live.ts';
import { pgHandle } from '../support/pg-handle.ts';
import { world } from '../relay/support.ts';

test('a message that is taken back while it is being forgotten is gone, head and body, and that is what is told', async () => {
  const here = await world();
  await here.add({});
  here.broker.answer = () => 'rejected';
  await here.relay({ attemptsMax: 1 }).drain();
  const person = createMonitor(here.pool);
  await person.act('bury', {}, { execute: true });

  // Its body has been deleted, its head has not.
  const forgetting = pgHandle(await connected(here.database.url));
  let atHeads = (): void => undefined;
  let goOn = (): void => undefined;
  const between = new Promise<void>((resolve) => (atHeads = resolve));
  const held = new Promise<void>((resolve) => (goOn = resolve));
  const slow: AsyncHandle = {
    ...forgetting,
    async execute(sql, parameters) {
      if (sql.startsWith('delete from "tallystick_outbox" ')) {
        atHeads();
        await held;
      }
      return forgetting.execute(sql, parameters);
    },
  };
  const forgotten = createMonitor(slow).forgetBuried(0);
  await between;
  let over = false;
  const acted = person.act('requeue', { states: ['buried'] }, { execute: true }).finally(() => (over = true));
  const looker = await connected(here.database.url);
  await until('the other person waits, or has done it', async () => {
    const { rows } = await looker.query(WAITING_FOR_LOCK);
    return over || rows.length > 0;
  });
  goOn();

  expect(await forgotten).toBe(1);
  const { changed, items } = await acted;
  expect([changed, items[0]]).toMatchObject([
    0,
    { from: 'buried', state: 'gone', result: 'refused', note: 'it changed meanwhile; act again if it is still there' },
  ]);
  const counts =
    'select (select count(*)::int from tallystick_outbox) as heads, (select count(*)::int from tallystick_outbox_body) as bodies';
  expect((await here.pool.query(counts)).rows).toEqual([{ heads: 0, bodies: 0 }]);
});
