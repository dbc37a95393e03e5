import { describe, expect, it } from 'vitest';
import type { GivenProducerOptions } from '../../src/options.ts';
import { producerOptions } from '../../src/producer/config-rules.ts';

const resolve = (given: GivenProducerOptions) => producerOptions('producer', given);

describe('options that depend on each other', () => {
  it.each([
    [{ requestTimeoutMs: 40_000 }, { deliveryTimeoutMs: 40_000, requestTimeoutMs: 40_000 }],
    [{ lingerMs: 29_000 }, { deliveryTimeoutMs: 32_000, requestTimeoutMs: 3000 }],
    [{ deliveryTimeoutMs: 1000 }, { deliveryTimeoutMs: 1000, requestTimeoutMs: 1000 }],
    [
      { deliveryTimeoutMs: 1000, lingerMs: 400 },
      { deliveryTimeoutMs: 1000, requestTimeoutMs: 600 },
    ],
    [
      { deliveryTimeoutMs: 3000, requestTimeoutMs: 3000 },
      { deliveryTimeoutMs: 3000, requestTimeoutMs: 3000 },
    ],
    [{ maxRequestSizeBytes: 1000 }, { maxRequestSizeBytes: 1000, batchSizeBytes: 1000 }],
    [
      { maxRequestSizeBytes: 1000, batchSizeBytes: 500 },
      { maxRequestSizeBytes: 1000, batchSizeBytes: 500 },
    ],
    [{ retryBackoffMs: 2000 }, { retryBackoffMs: 1000, retryBackoffMaxMs: 1000 }],
    [{ idempotence: true }, { maxInFlightPerQueue: 5, retries: 2 }],
    [{ idempotence: true, maxInFlightPerQueue: 1 }, { maxInFlightPerQueue: 1 }],
    [{}, { maxInFlightPerQueue: 16_384, idempotence: false }],
  ] as [GivenProducerOptions, GivenProducerOptions][])('%j: a default gives way: %j', (given, wanted) => {
    expect(resolve(given)).toMatchObject(wanted);
  });

  it.each([
    [
      { deliveryTimeoutMs: 1000, requestTimeoutMs: 2000 },
      'deliveryTimeoutMs is 1000, less than lingerMs + requestTimeoutMs, 2000',
    ],
    [{ deliveryTimeoutMs: 1000, lingerMs: 1000 }, 'deliveryTimeoutMs is 1000'],
    [{ batchSizeBytes: 2000, maxRequestSizeBytes: 1000 }, 'batchSizeBytes is 2000, more than maxRequestSizeBytes, 1000'],
    [{ idempotence: true, retries: 0 }, 'idempotence needs retries of at least 1, not 0'],
    [{ idempotence: true, maxInFlightPerQueue: 6 }, 'idempotence needs maxInFlightPerQueue of at most 5, not 6'],
  ] as [GivenProducerOptions, string][])('%j: two given values that contradict each other are refused', (given, text) => {
    expect(() => resolve(given)).toThrow(text);
  });

  it.each([
    [{ partitioner: 'random' }, 'partitioner must be one of sticky, uniform, round-robin, or an object with partition()'],
    [{ keySerializer: {} }, 'keySerializer must be one of plain, string, bytes, json, or an object with serialize()'],
    [{ interceptors: [1] }, 'interceptors must be a list of objects'],
    [{ keyHash: 'md5' }, 'keyHash must be one of murmur2, java'],
  ])('%j is refused with what would do', (given, text) => {
    expect(() => resolve(given as unknown as GivenProducerOptions)).toThrow(text);
  });
});
