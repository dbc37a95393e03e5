/**
 * Bodies come with their heads: those that are small for a batch without adding them up, and larger ones after the first page that had one,
 * also when looks between them find nothing, or other states are looked at.
 */
import pg from 'pg';
import { expect, test, vi } from 'vitest';
import { world } from './support.ts';

test.each([1024, 3 * 1024])('messages of %i bytes are claimed by one statement each', async (bytes) => {
  const here = await world();
  const relay = here.relay();
  // The share of a batch is 2 KiB by default.
  await here.add({ body: 'x'.repeat(bytes) });
  expect(await relay.drain()).toBe(1);
  const query = vi.spyOn(pg.Client.prototype, 'query');
  try {
    for (let n = 0; n < 5; n++) {
      await here.add({ body: 'x'.repeat(bytes) });
      expect(await relay.drain()).toBe(1);
    }
    const texts = query.mock.calls.map(([given]) =>
      typeof given === 'string' ? given : String((given as { text?: string }).text),
    );
    expect(texts.filter((text) => text.includes('left join lateral')).length).toBeGreaterThan(5);
    expect(texts.filter((text) => text.startsWith('select id, headers, body'))).toEqual([]);
  } finally {
    query.mockRestore();
  }
  expect(here.broker.stored.map(({ body }) => body.length)).toEqual(Array.from({ length: 6 }, () => bytes));
});
