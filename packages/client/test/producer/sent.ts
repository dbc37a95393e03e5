/** What producer tests share: a stage with topics, and sends whose ends are kept. */
import { vi } from 'vitest';
import type { SendError } from '../../src/errors.ts';
import type { ProducerCore } from '../../src/producer/producer-core.ts';
import type { SendReceipt } from '../../src/producer/receipt.ts';
import type { ProducerRecord } from '../../src/producer/record.ts';
import { Stage } from '../fake-broker.ts';

export const SENDS = [310, 320];

export interface Told {
  readonly error?: SendError;
  readonly receipt?: SendReceipt;
  /** How often it was told. */
  readonly times: number;
}

export function stageWith(topics: Record<string, number>): Stage {
  const stage = new Stage();
  for (const [topic, queues] of Object.entries(topics)) stage.broker.topics.set(topic, queues);
  return stage;
}

export function send(producer: ProducerCore, record: ProducerRecord<unknown, unknown>): Told {
  const told: { error?: SendError; receipt?: SendReceipt; times: number } = { times: 0 };
  producer.send(record, (error, receipt) => {
    told.times++;
    if (error === undefined) told.receipt = receipt;
    else told.error = error;
  });
  return told;
}

/** Sends one record and waits for its end, so that the topic's route and the connection are there. */
export function warmUp(stage: Stage, producer: ProducerCore, topic = 't'): void {
  send(producer, { topic, value: 'warm', key: 'warm' });
  stage.time.settle();
  stage.broker.arrived.length = 0;
  stage.broker.sends.length = 0;
}

/** The next buffer of this size cannot be had. */
export function noMemoryOnce(bytes: number): void {
  const spy = vi.spyOn(Buffer, 'allocUnsafeSlow');
  spy.mockImplementation((size) => {
    if (size !== bytes) return Buffer.alloc(size);
    spy.mockRestore();
    throw new RangeError('Array buffer allocation failed');
  });
}

export function bodies(stage: Stage): string[] {
  return stage.broker.arrived.map(({ body }) => body);
}
