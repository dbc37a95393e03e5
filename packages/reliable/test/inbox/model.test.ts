import fc from 'fast-check';
import { expect, test } from 'vitest';
import { backends } from '../support/backends.ts';
import { inboxWorld } from './inbox-world.ts';

const IDS = ['a1', 'a2', 'a3', 'b1', 'b2', 'n1'];

/** What may happen to a consumer: deliveries in any number and order, failures, deaths in an attempt, time, a person. */
const step = fc.oneof(
  fc.record({ do: fc.constant('deliver' as const), id: fc.constantFrom(...IDS), redelivered: fc.boolean() }),
  fc.record({ do: fc.constantFrom('fail' as const, 'mend' as const), id: fc.constantFrom(...IDS) }),
  fc.record({ do: fc.constant('pass' as const), id: fc.constant('') }),
  fc.record({ do: fc.constantFrom('die' as const, 'retry' as const), id: fc.constantFrom(...IDS) }),
);

test('whatever is delivered, fails, dies and is retried: never two effects, and one when all is mended', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 30 }), async (steps) => {
      const here = await inboxWorld(backends[0]!, { attemptsMax: 4, retryFirstMs: 10, deathsMax: 2, outbox: undefined });
      const failing = new Set<string>();
      const delivered = new Set<string>();
      here.inbox.handle('*', ({ id }) => {
        here.effect(id);
        if (failing.has(id)) throw new Error('no');
      });
      for (const next of steps) {
        const { id } = next;
        if (next.do === 'deliver') {
          const key = id.startsWith('n') ? undefined : id[0]!;
          expect(await here.receive({ id, key, redelivered: next.redelivered })).toBe('done');
          delivered.add(id);
        } else if (next.do === 'fail') failing.add(id);
        else if (next.do === 'mend') failing.delete(id);
        else if (next.do === 'retry') await here.during(here.inbox.retry(id));
        else if (next.do === 'pass') {
          here.time.advance(1000);
          await here.during(here.inbox.drain());
        } else {
          // As an attempt that began and never ended leaves it.
          here.raw
            .prepare("update tallystick_inbox set started = started + 1 where id = ? and state in ('waiting', 'retrying')")
            .run([id]);
        }
        expect(new Set(here.effects()).size).toBe(here.effects().length);
      }
      failing.clear();
      for (const id of delivered) if (!here.effects().includes(id)) await here.during(here.inbox.retry(id));
      for (let round = 0; round < 4; round++) {
        here.time.advance(1000);
        await here.during(here.inbox.drain());
      }
      expect(here.effects().sort()).toEqual([...delivered].sort());
      expect(here.rows().every((row) => row.startsWith('done'))).toBe(true);
      await here.during(here.inbox.stop());
      here.raw.close();
    }),
    { numRuns: 40 },
  );
});
