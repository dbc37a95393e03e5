/**
 * Ann's bank. It makes the planned transfers, by half message or by outbox, sends again what stays unconfirmed, and settles its journal when bank B's
 * confirmations arrive. It may be killed at any line: on its next start it reads from its own database what has been made and goes on with the rest.
 *
 * As `standby` it is a second instance of the service on the same database that makes no transfers and only answers check-backs.
 */
import { systemClock, systemRandom } from '@tallystick/base/node';
import { createLocalTransactionTable, MessageIds, migrate } from '@tallystick/reliable';
import type { Client } from '@tallystick/client';
import { absentMax, type BankA } from './bank-a-parts.ts';
import { clientThrough } from './bank-client.ts';
import type { ChildOptions } from './child-options.ts';
import { ParentLine } from './child.ts';
import { leave, openForWriting } from './database.ts';
import { HalfPath } from './half-path.ts';
import { LedgerA } from './ledger-a.ts';
import { bankAConsumers, bankAProducers, confirmationTopic, transferTopic } from './messages.ts';
import { OutboxPath } from './outbox-path.ts';
import { openingsOfA, transferOf, type Transfer } from './plan.ts';
import { layOutBankA } from './schema.ts';
import { limited, sleep } from './sleep.ts';

const transfersAtOnce = 8;
const resendAfterMs = 4_000;
const resendEveryMs = 500;
const resendsAtOnce = 50;
const againAfterMs = 200;
const closeLimitMs = 2_000;

export async function runBankA(options: ChildOptions, standby: boolean): Promise<void> {
  const line = new ParentLine();
  const db = openForWriting(options.bankA, !standby);
  layOutBankA(db, openingsOfA(options.plan));
  migrate(db);
  const client = clientThrough(options.brokerPort);
  const transactions = createLocalTransactionTable(db, { absentMax });
  const serials = new MessageIds(systemClock, systemRandom());
  const bank: BankA = { line, db, ledger: new LedgerA(db), client, transactions, serials, defect: options.plan.defect };
  const half = options.plan.path === 'outbox' ? undefined : new HalfPath(bank);
  await half?.start();
  if (standby) {
    line.onStop = () => process.exit(0);
    line.ready();
    return;
  }
  const outbox = options.plan.path === 'half' ? undefined : new OutboxPath(bank, options.bankA);
  outbox?.start();
  await settleOnConfirmation(bank);
  const resending = bank.defect === undefined ? sendAgain(bank) : undefined;
  line.onStop = () => {
    clearInterval(resending);
    void closeAll(client, outbox).finally(() => {
      leave(db);
      process.exit(0);
    });
  };
  line.ready();
  await makeTransfers(options, bank, (transfer) => (transfer.path === 'half' ? half! : outbox!).make(transfer));
}

/** A stop while the broker is away must not wait for it. */
async function closeAll(client: Client, outbox: OutboxPath | undefined): Promise<void> {
  await limited(
    Promise.resolve(outbox?.stop()).then(() => client.close()),
    closeLimitMs,
  );
}

/** Makes what has not been made, a few at a time, each until it is committed. */
async function makeTransfers(
  { plan, paceMs }: ChildOptions,
  { ledger, line }: BankA,
  make: (transfer: Transfer) => Promise<void>,
): Promise<void> {
  const made = ledger.numbersMade();
  let next = 1;
  let startAt = performance.now();
  const worker = async () => {
    for (;;) {
      while (made.has(next)) next++;
      if (next > plan.transfers) return;
      const transfer = transferOf(plan, next++);
      startAt = Math.max(performance.now(), startAt + paceMs);
      await sleep(startAt - performance.now());
      await untilCommitted(transfer, make, line);
    }
  };
  await Promise.all(Array.from({ length: transfersAtOnce }, worker));
}

/** A transfer that could not be committed under one serial is made again under another; the first one never moved money. */
async function untilCommitted(transfer: Transfer, make: (transfer: Transfer) => Promise<void>, line: ParentLine): Promise<void> {
  for (;;) {
    try {
      return await make(transfer);
    } catch (error) {
      console.error(`transfer ${transfer.number}: ${String(error)}`);
      line.note(`transfer ${transfer.number} is made again: ${error instanceof Error ? error.message : String(error)}`);
      await sleep(againAfterMs);
    }
  }
}

async function settleOnConfirmation({ client, ledger }: BankA): Promise<void> {
  const consumer = client.consumer({
    group: bankAConsumers,
    topics: { [confirmationTopic]: '*' },
    from: 'first',
    commitIntervalMs: 500,
    handler: (message) => void ledger.settle(message.value.toString('utf8')),
  });
  await consumer.start();
}

/** The journal's sweep: what bank B has not confirmed for a while is sent again under its serial. */
function sendAgain({ client, ledger, line }: BankA): NodeJS.Timeout {
  const producer = client.producer({ group: bankAProducers });
  let sweeping = false;
  const sweep = async () => {
    if (sweeping) return;
    sweeping = true;
    try {
      for (const { serial, number, message } of ledger.unconfirmedSince(Date.now() - resendAfterMs, resendsAtOnce)) {
        await producer.send({ topic: transferTopic, id: serial, key: serial, value: message });
        ledger.markSent(serial, Date.now());
        line.note(`transfer ${number} is still unconfirmed and was sent again`);
      }
    } catch (error) {
      console.error(`not sent again: ${String(error)}`);
    } finally {
      sweeping = false;
    }
  };
  return setInterval(() => void sweep(), resendEveryMs);
}
