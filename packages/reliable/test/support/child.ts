import Database from 'libsql';
import { createOutbox, createRelay, migrate, transaction } from '../../src/index.ts';

/**
 * Child processes of the tests that kill. `child.ts migrate PATH` makes the tables and exits. `child.ts add PATH POINT` commits one
 * message after the other and dies by SIGKILL at the named point. `child.ts relay PATH` drains once
 * with its parent as the broker: a push is shown to the parent, which answers when it likes.
 */
const [job, path, point] = process.argv.slice(2) as [string, string, string | undefined];
const db = new Database(path, { timeout: 5000 });

function die(): never {
  process.kill(process.pid, 'SIGKILL');
  // The signal may take a moment; nothing of ours may run in it.
  for (;;) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1000);
}

function add(): void {
  const outbox = createOutbox(db, { wake: () => undefined });
  const relay = createRelay({
    db: new Database(path, { timeout: 5000 }),
    leaseMs: 1000,
    transport: {
      publish: (batch) => {
        if (point === 'in-push') die();
        process.send?.(batch.map(({ id }) => id));
        if (point === 'after-push') die();
        return Promise.resolve(batch.map(() => ({ outcome: 'confirmed' as const })));
      },
    },
  });
  transaction(db, (tx) => {
    db.exec("insert into business values ('done')");
    outbox.in(tx).add({ topic: 't', key: 'k', body: 'must arrive' });
    if (point === 'before-commit') die();
  });
  if (point === 'after-commit') die();
  relay.start();
}

async function relay(): Promise<void> {
  const relay = createRelay({
    db,
    // Renewed after seconds: a process that is stopped while it writes leaves the database locked.
    leaseMs: 30_000,
    transport: {
      publish: (batch) => {
        // Once its look has ended, for the same reason.
        setImmediate(() => process.send?.(batch.map(({ id }) => id)));
        return new Promise((resolve) => process.once('message', () => resolve(batch.map(() => ({ outcome: 'confirmed' })))));
      },
    },
  });
  await relay.drain();
  process.send?.(relay.counters);
  process.disconnect();
}

if (job === 'migrate') migrate(db);
else if (job === 'relay') await relay();
else add();
