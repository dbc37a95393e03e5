/**
 * A transfer by outbox: the message is a row written in the transaction that debits; the relay publishes it after the commit, at once or by its sweep,
 * until the broker has confirmed it.
 */
import { createOutbox, createRelay, transaction, type OutgoingMessage, type Transport } from '@tallystick/reliable';
import type { Producer } from '@tallystick/client';
import type { BankA } from './bank-a-parts.ts';
import { openForWriting } from './database.ts';
import { bankAProducers, numberHeader, transferTopic, writeTransfer } from './messages.ts';
import type { Transfer } from './plan.ts';

/**
 * Short waits, since the demo breaks things on purpose. There is one bank-a at a time, so its relay may keep its name over a restart and need not wait for the
 * lease of its dead predecessor.
 */
const relayTimes = { owner: 'bank-a', sweepIntervalMs: 200, retryFirstMs: 200, retryMaxMs: 1_000, brakeMaxMs: 500, stopAfterMs: 1_500 };

export class OutboxPath {
  private readonly bank: BankA;
  private readonly producer: Producer;
  private readonly outbox;
  private readonly relay;

  constructor(bank: BankA, path: string) {
    this.bank = bank;
    this.producer = bank.client.producer({ group: bankAProducers });
    this.relay = createRelay({ db: openForWriting(path, false), transport: this.watched(this.producer), ...relayTimes });
    this.outbox = createOutbox(bank.db, { wake: () => this.relay.wake() });
  }

  start(): void {
    this.relay.start();
  }

  stop(): Promise<void> {
    return this.relay.stop();
  }

  /** Resolves when the transfer is committed; throws when it certainly is not and must be made again. */
  async make(transfer: Transfer): Promise<void> {
    if (this.bank.defect === 'publish-before-commit') return this.publishFirst(transfer);
    const message = writeTransfer(transfer, transfer.poison);
    const { ledger } = this.bank;
    transaction(this.bank.db, (tx) => {
      const headers = new Map([[numberHeader, String(transfer.number)]]);
      const serial = this.outbox.in(tx).add({ topic: transferTopic, headers, body: Buffer.from(message) });
      ledger.debit(serial, transfer, message, Date.now());
    });
  }

  private async publishFirst(transfer: Transfer): Promise<void> {
    const { db, ledger, line, serials } = this.bank;
    const serial = serials.next();
    const message = writeTransfer(transfer, transfer.poison);
    await this.producer.send({ topic: transferTopic, id: serial, key: serial, value: message, headers: { [numberHeader]: String(transfer.number) } });
    await line.reached('published', transfer.number, serial);
    transaction(db, () => ledger.debit(serial, transfer, message, Date.now()));
  }

  /** The producer, with the steps at which a fault may fire: all messages are committed by now and none has left. */
  private watched(producer: Transport): Transport {
    const { line } = this.bank;
    return {
      publish: async (batch: readonly OutgoingMessage[]) => {
        for (const { id, headers } of batch) {
          const number = Number(headers?.get(numberHeader));
          await line.reached('committed', number, id);
          await line.reached('sending', number, id);
        }
        return producer.publish(batch);
      },
    };
  }
}
