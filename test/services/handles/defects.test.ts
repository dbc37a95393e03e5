/** The contract of handles must notice handles that lie: each defect is built into a handle here, and one of its tests has to fail. */
import type { PoolClient } from 'pg';
import { afterAll, expect, test } from 'vitest';
import type { AsyncHandle, Handle } from '@tallystick/reliable';
import { contractOf } from './contract.ts';
import type { LibraryUnderTest } from './libraries/library.ts';
import { pg } from './libraries/pg.ts';
import { capabilitiesOf, leave } from './world.ts';

interface Defect {
  readonly name: string;
  /** The test that must notice it. */
  readonly noticedBy: string;
  /** What is wrong with the handle of a client. */
  readonly lie: (client: PoolClient) => Partial<AsyncHandle>;
}

const defects: readonly Defect[] = [
  {
    name: 'every end is called a commit',
    noticedBy: 'a rollback runs no hook',
    lie: (client) => ({ onEnd: (told) => onReady(client, 'I', () => told('commit')) }),
  },
  {
    name: 'the commit of a failed transaction is believed',
    noticedBy: 'the commit of a failed transaction is a rollback, and runs no hook',
    lie: (client) => {
      const query = client.query.bind(client) as (...given: unknown[]) => Promise<unknown>;
      let told: ((outcome: 'commit') => void) | undefined;
      Object.assign(client, {
        query: async (...given: unknown[]) => {
          const result = await query(...given);
          if (given[0] === 'commit') told?.('commit');
          return result;
        },
      });
      return { onEnd: (tell) => ((told = tell), true) };
    },
  },
  {
    name: 'the end of a savepoint is taken for the end of the transaction',
    noticedBy: 'savepoints neither run hooks nor end the watch',
    lie: (client) => ({ onEnd: (told) => onReady(client, 'T', () => told('commit')) }),
  },
  {
    name: 'a handle says that it is in a transaction when it is not',
    noticedBy: 'a handle that is first used after its commit is refused',
    lie: () => ({ inTransaction: () => true }),
  },
  {
    name: 'the end is told twice',
    noticedBy: 'a commit is seen when the handle was used before',
    lie: (client) => ({ onEnd: (told) => onReady(client, 'I', () => (told('commit'), told('commit'))) }),
  },
];

for (const { name, noticedBy, lie } of defects) {
  const library = lying(name, lie);
  afterAll(() => leave(library));

  test(`noticed: ${name}`, async () => {
    const contract = contractOf(library, capabilitiesOf(pg)).find((one) => one.name === noticedBy);
    await expect(contract!.run()).rejects.toThrow();
  });
}

test('a handle without a lie passes the same tests', async () => {
  const library = lying('no lie', () => ({}));
  const names = new Set(defects.map(({ noticedBy }) => noticedBy));
  try {
    for (const one of contractOf(library, capabilitiesOf(pg))) if (names.has(one.name)) await one.run();
  } finally {
    await leave(library);
  }
});

/** pg, with a handle made by hand that has a defect. */
function lying(name: string, lie: Defect['lie']): LibraryUnderTest {
  return {
    name,
    async open(url) {
      const opened = await pg.open(url);
      return {
        ...opened,
        begin: (work) => opened.begin((tx) => work(handle(tx as PoolClient, lie))),
        nested: (tx, work) => opened.nested(clients.get(tx)!, () => work(tx)),
        run: (tx, text) => opened.run(clients.get(tx) ?? tx, text),
      };
    },
  };
}

const clients = new WeakMap<object, PoolClient>();

function handle(client: PoolClient, lie: Defect['lie']): Handle {
  const made: AsyncHandle = {
    tallystick: 'asynchronous',
    dialect: 'postgres',
    async execute(sql, parameters) {
      const { rows, rowCount } = await client.query<Record<string, unknown>>(sql, [...parameters]);
      return { rows, changes: rowCount ?? 0 };
    },
    inTransaction: () => client.getTransactionStatus() !== 'I',
    onEnd: (told) => onReady(client, 'I', (tag) => told(tag === 'COMMIT' ? 'commit' : 'rollback')),
    ...lie(client),
  };
  clients.set(made, client);
  return made;
}

/** Once, when the server next says that its status is so. */
function onReady(client: PoolClient, status: string, told: (tag: string) => void): boolean {
  const { connection } = client as unknown as { connection: NodeJS.EventEmitter };
  let tag = '';
  const completed = (message: { text: string }): void => void (tag = message.text);
  const ready = (message: { status: string }): void => {
    if (message.status !== status) return;
    connection.removeListener('commandComplete', completed);
    connection.removeListener('readyForQuery', ready);
    told(tag);
  };
  connection.on('commandComplete', completed);
  connection.on('readyForQuery', ready);
  return true;
}
