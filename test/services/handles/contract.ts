/**
 * The contract of handles, as tests that can be run with any library: its own code, on a real PostgreSQL. What a library cannot do is in its
 * row of the capability table, and asserted.
 */
import { inspect } from 'node:util';
import { expect } from 'vitest';
import {
  afterCommit,
  connectionsOf,
  createInbox,
  createOutbox,
  transaction,
  type Handle,
  type HandleCapabilities,
  type Transport,
} from '@tallystick/reliable';
import type { LibraryUnderTest } from './libraries/library.ts';
import { EFFECTS, IDS, until, worldOf, type World } from './world.ts';

export interface ContractTest {
  readonly name: string;
  readonly run: () => Promise<void>;
}

const message = { topic: 'orders', key: 'k', headers: { 'a-b': 'c' }, body: Buffer.from([0, 1, 39, 92, 127, 128, 255]) };

export function contractOf(library: LibraryUnderTest, can: HandleCapabilities): ContractTest[] {
  const tests: ContractTest[] = [];
  const test = (name: string, run: () => Promise<void>): void => void tests.push({ name, run });
  const effect = (world: World, tx: Handle, id: string): Promise<unknown> => world.run(tx, `insert into effect values ('${id}')`);

  test('a message is there exactly when the business row of its transaction is', async () => {
    const world = await worldOf(library);
    const id = await world.begin(async (tx) => {
      await effect(world, tx, 'a');
      return world.outbox.in(tx).add(message);
    });
    expect(await world.rows(IDS)).toEqual([id]);
    expect(await world.rows(EFFECTS)).toEqual(['a']);
    expect(await world.rows(`select encode(body, 'hex') from tallystick_outbox_body`)).toEqual([message.body.toString('hex')]);
    expect(await world.rows('select headers from tallystick_outbox_body')).toEqual(['[["a-b","c"]]']);
  });

  test('several messages are written at once', async () => {
    const world = await worldOf(library);
    const ids = await world.begin(async (tx) => world.outbox.in(tx).addMany([message, { ...message, key: 'l' }, message]));
    expect(await world.rows(IDS)).toEqual(ids);
  });

  test('an id is taken once', async () => {
    const world = await worldOf(library);
    const id = 'A'.repeat(32);
    await world.begin(async (tx) => world.outbox.in(tx).add({ ...message, id }));
    const again = world.begin(async (tx) => world.outbox.in(tx).add({ ...message, id }));
    await expect(again).rejects.toMatchObject({ code: 'DUPLICATE_ID' });
    expect(await world.rows(IDS)).toEqual([id]);
  });

  test('a rollback leaves nothing', async () => {
    const world = await worldOf(library);
    const stop = new Error('stop');
    const running = world.begin(async (tx) => {
      await effect(world, tx, 'a');
      await world.outbox.in(tx).add(message);
      throw stop;
    });
    await expect(running).rejects.toThrow(stop);
    expect(await world.rows(IDS)).toEqual([]);
    expect(await world.rows(EFFECTS)).toEqual([]);
  });

  test('outside of a transaction nothing is written', async () => {
    const world = await worldOf(library);
    await expect(world.outbox.in(world.root as Handle).add(message)).rejects.toMatchObject({ code: 'NOT_IN_TRANSACTION' });
    expect(() => afterCommit(world.root as Handle, () => undefined)).toThrow(
      expect.objectContaining({ code: 'NOT_IN_TRANSACTION' }),
    );
    expect(await world.rows(IDS)).toEqual([]);
  });

  test('a handle is refused after its commit, also while its connection is in the transaction of somebody else', async () => {
    const world = await worldOf(library);
    let leaked: Handle | undefined;
    await world.begin(async (tx) => {
      leaked = tx;
      await world.outbox.in(tx).add(message);
    });
    const refused = (): Promise<unknown> =>
      expect(world.outbox.in(leaked!).add(message)).rejects.toMatchObject({ code: 'NOT_IN_TRANSACTION' });
    await refused();
    if (library.name !== 'pg') {
      await world.begin(async (tx) => {
        await effect(world, tx, 'other');
        await refused();
      });
    }
    expect(await world.rows(IDS)).toHaveLength(1);
  });

  test('a handle that is first used after its commit is refused', async () => {
    const world = await worldOf(library);
    let leaked: Handle | undefined;
    await world.begin(async (tx) => {
      leaked = tx;
      await effect(world, tx, 'a');
    });
    await expect(world.outbox.in(leaked!).add(message)).rejects.toMatchObject({ code: 'NOT_IN_TRANSACTION' });
    expect(await world.rows(IDS)).toEqual([]);
  });

  test('a handle of another database is refused, and nothing is written there', async () => {
    const world = await worldOf(library);
    const other = await worldOf(library, 'other');
    await world.outbox.ready();
    const running = other.begin(async (tx) => world.outbox.in(tx).add(message));
    await expect(running).rejects.toMatchObject({ code: 'WRONG_DATABASE' });
    expect(await other.rows(IDS)).toEqual([]);
    expect(await world.rows(IDS)).toEqual([]);
  });

  test('an inbox key is taken once in the transaction of its effect', async () => {
    const world = await worldOf(library);
    const inbox = createInbox(world.root, { consumer: 'c' });
    const once = (): Promise<string> =>
      world.begin(async (tx) => (await inbox.once(tx, 'key', async () => void (await effect(world, tx, 'a')))).outcome);
    expect(await once()).toBe('done');
    expect(await once()).toBe('duplicate');
    expect(await world.rows(EFFECTS)).toEqual(['a']);
  });

  test('the relay is woken after the commit, and not after a rollback that can be seen', async () => {
    const world = await worldOf(library);
    let wokenInside = 0;
    await world.begin(async (tx) => {
      await world.outbox.in(tx).add(message);
      wokenInside = world.woken();
    });
    expect(wokenInside).toBe(0);
    await until(() => world.woken() === 1, 'the relay is woken');
    await world
      .begin(async (tx) => {
        await world.outbox.in(tx).add(message);
        throw new Error('stop');
      })
      .catch(() => undefined);
    if (can.commitSeen === 'driver') expect(world.woken()).toBe(1);
  });

  if (can.commitSeen === 'driver') {
    test('a commit is seen once, after it, by the driver', async () => {
      const world = await worldOf(library);
      const seen: string[] = [];
      const read = (): Promise<void> => world.rows(EFFECTS).then((rows) => void seen.push(rows.join()));
      await world.begin(async (tx) => {
        afterCommit(tx, read);
        await effect(world, tx, 'a');
        expect(seen).toEqual([]);
      });
      await until(() => seen.length === 1, 'the hook ran');
      await world.begin((tx) => effect(world, tx, 'b'));
      expect(seen).toEqual(['a']);
    });

    test('a commit is seen when the handle was used before', async () => {
      const world = await worldOf(library);
      let seen = 0;
      await world.begin(async (tx) => {
        await world.outbox.in(tx).add(message);
        afterCommit(tx, () => void seen++);
        afterCommit(tx, () => void seen++);
      });
      expect(seen).toBe(2);
    });

    test('a rollback runs no hook', async () => {
      const world = await worldOf(library);
      let seen = 0;
      const failing = world.begin(async (tx) => {
        afterCommit(tx, () => void seen++);
        await effect(world, tx, 'a');
        throw new Error('stop');
      });
      await expect(failing).rejects.toThrow('stop');
      await world.begin((tx) => effect(world, tx, 'b'));
      expect(seen).toBe(0);
    });

    test('the commit of a failed transaction is a rollback, and runs no hook', async () => {
      const world = await worldOf(library);
      let seen = 0;
      const swallowing = world.begin(async (tx) => {
        await effect(world, tx, 'a');
        afterCommit(tx, () => void seen++);
        await world.run(tx, 'select 1 / 0').catch(() => undefined);
      });
      if (can.rejectsFailedCommit) await expect(swallowing).rejects.toThrow();
      else await swallowing;
      expect(await world.rows(EFFECTS)).toEqual([]);
      await world.begin((tx) => effect(world, tx, 'b'));
      expect(seen).toBe(0);
    });

    test('savepoints neither run hooks nor end the watch', async () => {
      const world = await worldOf(library);
      const seen: string[] = [];
      await world.begin(async (tx) => {
        afterCommit(tx, () => void seen.push('outer'));
        await world.nested(tx, async (inner) => {
          await effect(world, inner, 'a');
          await world.outbox.in(inner).add(message);
          afterCommit(inner, () => void seen.push('inner'));
        });
        expect(seen).toEqual([]);
        await world
          .nested(tx, async (inner) => {
            await world.outbox.in(inner).add(message);
            throw new Error('undo the inner one');
          })
          .catch(() => undefined);
        expect(seen).toEqual([]);
        await effect(world, tx, 'b');
      });
      expect(seen.toSorted()).toEqual(['inner', 'outer']);
      expect(await world.rows(IDS)).toHaveLength(1);
    });

    test('two transactions at once on one pool each see their own end', async () => {
      const world = await worldOf(library);
      const seen: string[] = [];
      const together = gate(2);
      const one = (id: string, fails: boolean): Promise<unknown> =>
        world.begin(async (tx) => {
          await effect(world, tx, id);
          await world.outbox.in(tx).add(message);
          afterCommit(tx, () => void seen.push(id));
          await together();
          if (fails) throw new Error('stop');
        });
      await Promise.allSettled([one('stays', false), one('goes', true)]);
      expect(seen).toEqual(['stays']);
      expect(await world.rows(EFFECTS)).toEqual(['stays']);
    });

    for (const [whose, begin] of [
      ['its own transaction', (world: World, work: (tx: Handle) => Promise<void>) => world.begin(work)],
      [
        'transaction()',
        (world: World, work: (tx: Handle) => Promise<void>) => transaction(world.root, (tx) => work(tx as Handle)),
      ],
    ] as const) {
      test(`what waits for the commit is undone with its nested transaction, in ${whose}`, async () => {
        const world = await worldOf(library);
        const sent: string[] = [];
        const outbox = createOutbox(world.root, { transport: recordingTransport(sent) });
        const hear = async (tx: Handle, name: string): Promise<void> => {
          await outbox.in(tx).add({ ...message, key: name, mode: 'volatile' });
          afterCommit(tx, () => void sent.push(`hook ${name}`));
        };
        await begin(world, async (tx) => {
          // Undone before anybody has used the handle, and after.
          await undone(world, tx, (inner) => hear(inner, 'first'));
          await hear(tx, 'outer');
          await undone(world, tx, (inner) => hear(inner, 'second'));
          await world.nested(tx, (inner) => hear(inner, 'kept'));
          await undone(world, tx, (inner) => world.nested(inner, (innermost) => hear(innermost, 'third')));
          await effect(world, tx, 'a');
        });
        await outbox.flush();
        expect(sent.toSorted()).toEqual(['hook kept', 'hook outer', 'kept', 'outer']);
        expect(outbox.counters.volatile.lost).toBe(0);
      });
    }

    for (const [text, goesOn, ends] of [
      ['rollback and chain', true, 'rollback'],
      ['/* a /* b */ */ ABORT -- c\n Work /**/ And Chain', true, 'rollback'],
      ['-- a\nCommit And /* b */ Chain', true, 'commit'],
      ['end transaction and chain;', true, 'commit'],
      ['/* rollback */ COMMIT', false, 'commit'],
      ['Rollback /* to savepoint a */ AND NO CHAIN', false, 'rollback'],
    ] as const) {
      test(`${JSON.stringify(text)} by hand is a ${ends}${goesOn ? ', and what follows it is another transaction' : ''}`, async () => {
        const world = await worldOf(library);
        const seen: string[] = [];
        await world
          .begin(async (tx) => {
            await world.outbox.in(tx).add(message);
            afterCommit(tx, () => void seen.push('first'));
            await world.run(tx, text);
            if (ends === 'commit') await until(() => seen.length === 1, 'the commit is seen');
            if (!goesOn) return;
            await world.outbox.in(tx).add(message);
            afterCommit(tx, () => void seen.push('second'));
          })
          // Some notice that their commit has nothing to commit.
          .catch((error: unknown) => {
            if (goesOn) throw error;
          });
        expect(seen).toEqual([...(ends === 'commit' ? ['first'] : []), ...(goesOn ? ['second'] : [])]);
        expect(await world.rows(IDS)).toHaveLength(seen.length);
      });
    }
  } else {
    test('its commit cannot be seen, and afterCommit says so', async () => {
      const world = await worldOf(library);
      await world.begin(async (tx) => {
        expect(() => afterCommit(tx, () => undefined)).toThrow(expect.objectContaining({ code: 'COMMIT_UNSEEN' }));
        await effect(world, tx, 'a');
      });
      expect(await world.rows(EFFECTS)).toEqual(['a']);
    });
  }

  test('transaction() sees the commit, and its hooks may use the pool', async () => {
    const world = await worldOf(library);
    const seen: string[] = [];
    const value = await transaction(world.root, async (tx) => {
      afterCommit(tx as Handle, async () => void seen.push(...(await world.rows(EFFECTS))));
      await effect(world, tx as Handle, 'a');
      await world.outbox.in(tx as Handle).add(message);
      return 7;
    });
    expect(value).toBe(7);
    await until(() => seen.length === 1, 'the hook ran');
    expect(seen).toEqual(['a']);
    expect(world.woken()).toBe(1);
  });

  test('transaction() rolls back when its work throws, and says when the commit was none', async () => {
    const world = await worldOf(library);
    let seen = 0;
    const thrown = transaction(world.root, async (tx) => {
      afterCommit(tx as Handle, () => void seen++);
      await effect(world, tx as Handle, 'a');
      throw new Error('stop');
    });
    await expect(thrown).rejects.toThrow('stop');
    const swallowed = transaction(world.root, async (tx) => {
      afterCommit(tx as Handle, () => void seen++);
      await effect(world, tx as Handle, 'b');
      await world.run(tx as Handle, 'select 1 / 0').catch(() => undefined);
    });
    if (can.rejectsFailedCommit) await expect(swallowed).rejects.toThrow('division by zero');
    else await expect(swallowed).rejects.toMatchObject({ code: 'NOT_COMMITTED' });
    const deferred = transaction(world.root, async (tx) => {
      afterCommit(tx as Handle, () => void seen++);
      await world.run(tx as Handle, `insert into checked values ('nobody')`);
    });
    await expect(deferred).rejects.toSatisfy((error) => /foreign key/i.test(inspect(error)));
    expect(seen).toBe(0);
    expect(await world.rows(EFFECTS)).toEqual([]);
  });

  test('transaction() runs again after a deadlock, as often as it may', async () => {
    const world = await worldOf(library);
    await world.begin(async (tx) => {
      await effect(world, tx, 'a');
      await effect(world, tx, 'b');
    });
    const together = gate(2);
    let runs = 0;
    const lock = async (first: string, second: string): Promise<void> =>
      transaction(
        world.root,
        async (tx) => {
          const take = (id: string): Promise<unknown> => world.run(tx as Handle, `update effect set id = id where id = '${id}'`);
          await take(first);
          if (runs++ < 2) await together();
          await take(second);
        },
        { retries: 3 },
      );
    await Promise.all([lock('a', 'b'), lock('b', 'a')]);
    expect(runs).toBeGreaterThan(2);
  });

  test('background work gets connections, and a broken one is not lent again', async () => {
    const world = await worldOf(library);
    const connections = connectionsOf(world.root);
    const run = (text: string): Promise<readonly Readonly<Record<string, unknown>>[]> =>
      connections.use(async (session) => (await session.execute({ sql: text, parameters: [], reads: true })).rows);
    expect(await run('select 1 as one_column')).toEqual([{ one_column: 1 }]);
    await expect(run('select 1 / 0')).rejects.toThrow();
    await connections.use(async (session) => {
      await session.execute({ sql: 'begin', parameters: [], reads: false });
      expect(await session.inTransaction()).toBe(true);
      await session.execute({ sql: 'insert into effect values ($1)', parameters: ['kept'], reads: false });
      await session.execute({ sql: 'commit', parameters: [], reads: false });
      expect(await session.inTransaction()).toBe(false);
    });
    // Left open: must not stay open in the pool.
    await connections.use(async (session) => {
      await session.execute({ sql: 'begin', parameters: [], reads: false });
      await session.execute({ sql: 'insert into effect values ($1)', parameters: ['left'], reads: false });
    });
    await until(
      async () =>
        (
          await world.rows(`select count(*) from pg_stat_activity where state like 'idle in%' and datname = current_database()`)
        )[0] === '0',
      'no open transaction',
    );
    await run('select pg_terminate_backend(pg_backend_pid())').catch(() => undefined);
    for (let i = 0; i < 6; i++) expect(await run('select 2 as n')).toEqual([{ n: 2 }]);
    expect(await world.rows(EFFECTS)).toEqual(['kept']);
    await connections.close();
  });

  test('lists and bytes arrive as they are', async () => {
    const world = await worldOf(library);
    const connections = connectionsOf(world.root);
    const texts = ['a', 'b,"c"\\', '', 'null', 'ü'];
    const rows = await connections.use(async (session) => {
      const asked = {
        sql: "select array_length($1::text[], 1) as n, ($1::text[])[2] as second, encode(($2::bytea[])[1], 'hex') as bytes",
        parameters: [texts, [Uint8Array.of(0, 255)]],
        reads: true,
      };
      return (await session.execute(asked)).rows;
    });
    expect(rows).toEqual([{ n: 5, second: texts[1], bytes: '00ff' }]);
    await connections.close();
  });
  return tests;
}

/** Runs the work in a nested transaction that is rolled back. */
async function undone(world: World, tx: Handle, work: (inner: Handle) => Promise<unknown>): Promise<void> {
  const stop = new Error('undo');
  const nested = world.nested(tx, async (inner) => {
    await work(inner);
    throw stop;
  });
  await expect(nested).rejects.toThrow(stop);
}

/** Confirms everything, and notes the keys. */
function recordingTransport(sent: string[]): Transport {
  return {
    publish: async (messages) => {
      sent.push(...messages.map(({ key }) => key!));
      return messages.map(() => ({ outcome: 'confirmed' }));
    },
  } as Transport;
}

/** Resolves for all of them when so many have come. */
function gate(count: number): () => Promise<void> {
  let open: () => void = () => undefined;
  const opened = new Promise<void>((resolve) => (open = resolve));
  let come = 0;
  return () => {
    if (++come === count) open();
    return opened;
  };
}
