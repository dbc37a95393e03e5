/**
 * The messages between the banks. A transfer's message is JSON with the amount in minor units; its id is the transfer's serial. The poison is a message
 * whose amount was written by hand, with a comma: bank B refuses it every time, until a person has read it and written it properly.
 */
export const transferTopic = 'transfers';
export const confirmationTopic = 'confirmations';
export const bankAProducers = 'bank-a';
export const bankAConsumers = 'bank-a-confirmations';
export const bankBProducers = 'bank-b';
export const bankBConsumers = 'bank-b';
export const deadLetterTopic = `%DLQ%${bankBConsumers}`;
export const numberHeader = 'number';

export interface TransferMessage {
  readonly number: number;
  readonly to: string;
  readonly amountMinor: number;
}

/** The message of a transfer as bank A writes it. */
export function writeTransfer(message: TransferMessage, poison: boolean): string {
  const amount = poison ? (message.amountMinor / 100).toFixed(2).replace('.', ',') : message.amountMinor;
  return JSON.stringify({ number: message.number, to: message.to, amount });
}

/** Reads a transfer's message; throws when it cannot be carried out. */
export function readTransfer(text: string): TransferMessage {
  const value: unknown = JSON.parse(text);
  if (typeof value !== 'object' || value === null) throw new Error('a transfer is a JSON object');
  const { number, to, amount } = value as { number?: unknown; to?: unknown; amount?: unknown };
  if (typeof number !== 'number' || typeof to !== 'string') throw new Error('a transfer has a number and a beneficiary');
  if (typeof amount !== 'number' || !Number.isSafeInteger(amount) || amount <= 0) {
    throw new Error(`amount ${JSON.stringify(amount)} of transfer ${number} is not a number of cents`);
  }
  return { number, to, amountMinor: amount };
}

/** What the person does with a dead letter: reads the amount as it was meant and writes the message anew. */
export function mendTransfer(text: string): string {
  const value = JSON.parse(text) as { number: number; to: string; amount: unknown };
  const euros = typeof value.amount === 'string' ? /^(\d+),(\d\d)$/.exec(value.amount) : null;
  if (euros === null) return text;
  return writeTransfer({ number: value.number, to: value.to, amountMinor: Number(euros[1]) * 100 + Number(euros[2]) }, false);
}
