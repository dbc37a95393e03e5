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

/** Short waits, since the demo breaks things on purpose: a relay that was killed is replaced when its lease is over. */
const relayTimes = {
  leaseMs: 1_500,
  sweepIntervalMs: 200,
  retryFirstMs: 200,
  retryMaxMs: 1_000,
  brakeMaxMs: 500,
  stopAfterMs: 1_500,
};

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
    await this.bank.line.reached('begin', transfer.number, '');
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
    await this.producer.send({
      topic: transferTopic,
      id: serial,
      key: serial,
      value: message,
      headers: { [numberHeader]: String(transfer.number) },
    });
    await line.reached('published', transfer.number, serial);
    transaction(db, () => ledger.debit(serial, transfer, message, Date.now()));
  }

  /** The producer, with the steps at which a fault may fire: each message is committed by now and has not left. */
  private watched(producer: Producer): Transport {
    const { line } = this.bank;
    const publishOne = async (message: OutgoingMessage) => {
      const number = Number(message.headers?.get(numberHeader));
      await line.reached('committed', number, message.id);
      await line.reached('sending', number, message.id);
      const [outcome] = await producer.publish([message]);
      return outcome!;
    };
    return { publish: (batch) => Promise.all(batch.map(publishOne)) };
  }
}
