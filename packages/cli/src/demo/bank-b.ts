/**
 * Bob's bank. Each transfer is credited through the inbox: the key it has seen, the journal row and the new balance are one transaction, so a message that
 * comes twice has one effect. After the commit it confirms to bank A; a repeated message is confirmed again, because the first confirmation may be what was
 * lost.
 */
import { createInbox, migrate, transaction } from '@tallystick/reliable';
import type { ConsumedMessage, Producer } from '@tallystick/client';
import { clientThrough } from './bank-client.ts';
import type { ChildOptions } from './child-options.ts';
import { ParentLine } from './child.ts';
import { leave, openForWriting, type BankDatabase } from './database.ts';
import type { DefectName } from './defects.ts';
import {
  bankBConsumers,
  bankBProducers,
  confirmationTopic,
  readTransfer,
  transferTopic,
  type TransferMessage,
} from './messages.ts';
import { openingsOfB } from './plan.ts';
import { layOutBankB } from './schema.ts';
import { limited, sleep } from './sleep.ts';

/** First delivery, then so many retries, then the dead letters. */
const retriesMax = 2;
const againAfterMs = 200;
const closeLimitMs = 2_000;

export async function runBankB(options: ChildOptions): Promise<void> {
  const line = new ParentLine();
  const db = openForWriting(options.bankB, true);
  layOutBankB(db, openingsOfB(options.plan));
  migrate(db);
  const client = clientThrough(options.brokerPort);
  const bank = new BankB(line, db, client.producer({ group: bankBProducers }), options.plan.defect);
  const consumer = client.consumer({
    group: bankBConsumers,
    topics: { [transferTopic]: '*' },
    from: 'first',
    maxReconsumeTimes: retriesMax,
    commitIntervalMs: 500,
    handler: (message) => bank.handle(message),
  });
  await consumer.start();
  line.onStop = () => {
    void limited(
      consumer.close().then(() => client.close()),
      closeLimitMs,
    ).finally(() => {
      leave(db);
      process.exit(0);
    });
  };
  line.ready();
}

class BankB {
  private readonly line: ParentLine;
  private readonly db: BankDatabase;
  private readonly producer: Producer;
  private readonly defect: DefectName | undefined;
  private readonly inbox;

  constructor(line: ParentLine, db: BankDatabase, producer: Producer, defect: DefectName | undefined) {
    this.line = line;
    this.db = db;
    this.producer = producer;
    this.defect = defect;
    this.inbox = createInbox(db);
  }

  /** Resolving acknowledges the message; throwing has it delivered again. */
  async handle(message: ConsumedMessage): Promise<void> {
    const transfer = readTransfer(message.value.toString('utf8'));
    const serial = message.id;
    if (this.defect === 'ack-before-commit') {
      const place = { queueId: message.queueId, offset: message.offset };
      void this.line.reached('acked', transfer.number, serial, place).then(() => this.carryOut(serial, transfer));
      return;
    }
    await this.carryOut(serial, transfer);
  }

  private async carryOut(serial: string, transfer: TransferMessage): Promise<void> {
    if (this.defect === 'no-inbox') this.creditUnseen(serial, transfer);
    else this.creditOnce(serial, transfer);
    await this.line.reached('credited', transfer.number, serial);
    await this.confirm(serial);
  }

  private creditOnce(serial: string, transfer: TransferMessage): void {
    transaction(this.db, (tx) => {
      const { outcome } = this.inbox.once(tx, serial, () => this.credit(serial, transfer));
      if (outcome === 'duplicate') this.db.prepare('INSERT INTO absorbed (serial) VALUES (?)').run(serial);
    });
  }

  /** The defect: nobody asks whether this serial has been seen. */
  private creditUnseen(serial: string, transfer: TransferMessage): void {
    transaction(this.db, () => this.credit(serial, transfer));
  }

  private credit(serial: string, { to, amountMinor }: TransferMessage): void {
    const credited = this.db.prepare('UPDATE account SET balance = balance + ? WHERE id = ?').run(amountMinor, to);
    if (credited.changes !== 1) throw new Error(`bank B has no customer ${to}`);
    const insert = this.defect === 'no-inbox' ? 'INSERT OR IGNORE' : 'INSERT';
    this.db
      .prepare(`${insert} INTO journal (serial, account, amount, state) VALUES (?, ?, ?, 'succeeded')`)
      .run(serial, to, amountMinor);
  }

  /** The effect is committed, so the confirmation is sent until the broker has it; meanwhile the message stays unacknowledged. */
  private async confirm(serial: string): Promise<void> {
    for (;;) {
      try {
        await this.producer.send({ topic: confirmationTopic, key: serial, value: serial });
        return;
      } catch (error) {
        console.error(`confirmation of ${serial} not sent: ${String(error)}`);
        await sleep(againAfterMs);
      }
    }
  }
}
