import { describe, expect, test } from 'vitest';
import { backends } from './support/backends.ts';
import { world } from './support/world.ts';

describe.each(backends)('on $name', (backend) => {
  test('a committed message is published once and its row is deleted', async () => {
    const { add, relay, broker, states } = await world(backend);
    const [id] = await add({ body: 'hello', key: 'k', headers: { a: 'b' }, tag: 'x' });
    expect(states()).toEqual(['waiting']);
    expect(await relay().drain()).toBe(1);
    expect(broker.stored).toMatchObject([{ id, topic: 't', key: 'k', tag: 'x', headers: new Map([['a', 'b']]) }]);
    expect(broker.storedTexts).toEqual(['hello']);
    expect(states()).toEqual([]);
  });
});
