/** The connection is lost at the COMMIT: nobody may believe a commit or a rollback that is not known, and PostgreSQL is asked when wanted. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { afterCommit, transaction, type Handle } from '@tallystick/reliable';
import { cutterTo, type CommitCutter, type Cut } from './commit-cutter.ts';
import { LIBRARIES } from './libraries/index.ts';
import { capabilitiesOf, EFFECTS, leave, until, worldOf, type World } from './world.ts';

const CUTS: readonly Cut[] = ['before the server', 'after the server'];
const message = { topic: 'orders', body: Buffer.from('{}') };

for (const library of LIBRARIES) {
  describe(library.name, () => {
    const can = capabilitiesOf(library);
    let cutter: CommitCutter;
    let world: World;
    beforeAll(async () => {
      const through = async (url: string): Promise<string> => {
        cutter = await cutterTo(url);
        return cutter.url;
      };
      world = await worldOf(library, 'own', through);
    });
    afterAll(async () => {
      await leave(library);
      await cutter.close();
    });
    const fresh = async (): Promise<string[]> => {
      world = await worldOf(library);
      await world.begin((tx) => world.run(tx, 'select 1'));
      return [];
    };

    for (const cut of CUTS) {
      const committed = cut === 'after the server';

      test(`cut ${cut} has it: transaction() says that nobody knows, and runs no hook`, async () => {
        const ran = await fresh();
        const told: unknown[] = [];
        cutter.cutNext(cut);
        const running = transaction(world.root, async (tx) => {
          afterCommit(
            tx as Handle,
            () => void ran.push('hook'),
            (error) => void told.push(error),
          );
          await world.run(tx as Handle, `insert into effect values ('a')`);
        });
        await expect(running).rejects.toMatchObject({ code: 'COMMIT_UNKNOWN' });
        expect(cutter.cuts()).toBeGreaterThan(0);
        expect(told).toEqual([expect.objectContaining({ code: 'COMMIT_UNKNOWN' })]);
        expect(ran).toEqual([]);
        await until(async () => (await world.rows(EFFECTS)).length === (committed ? 1 : 0), 'the server has decided');
      });

      test(`cut ${cut} has it: asked for, transaction() finds out what happened`, async () => {
        const ran = await fresh();
        cutter.cutNext(cut);
        const running = transaction(
          world.root,
          async (tx) => {
            afterCommit(tx as Handle, () => void ran.push('hook'));
            await world.run(tx as Handle, `insert into effect values ('a')`);
            return 'value';
          },
          { resolveOutcome: true },
        );
        if (committed) expect(await running).toBe('value');
        else await expect(running).rejects.toMatchObject({ code: 'NOT_COMMITTED' });
        expect(ran).toEqual(committed ? ['hook'] : []);
        expect(await world.rows(EFFECTS)).toEqual(committed ? ['a'] : []);
      });

      if (can.commitSeen === 'driver') {
        test(`cut ${cut} has it: the driver's watch says unknown; the relay is woken, no hook runs`, async () => {
          const ran = await fresh();
          const told: unknown[] = [];
          cutter.cutNext(cut);
          const running = world.begin(async (tx) => {
            await world.outbox.in(tx).add(message);
            afterCommit(
              tx,
              () => void ran.push('hook'),
              (error) => void told.push(error),
            );
          });
          await expect(running).rejects.toThrow();
          await until(() => told.length === 1, 'the watch has told');
          expect(told).toEqual([expect.objectContaining({ code: 'COMMIT_UNKNOWN' })]);
          expect(world.woken()).toBe(1);
          expect(ran).toEqual([]);
        });
      }
    }
  });
}
