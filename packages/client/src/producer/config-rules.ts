/**
 * How the options of a producer depend on each other. What the caller gave stands; a default gives way to it. Two given values that
 * contradict each other are refused when the producer is made, both numbers named.
 *
 *    deliveryTimeoutMs ≥ lingerMs + requestTimeoutMs    else one attempt could outlive the record: the default among them is moved
 *    batchSizeBytes ≤ maxRequestSizeBytes               a batch is a request
 *    retryBackoffMs ≤ retryBackoffMaxMs                 else every pause is retryBackoffMaxMs
 *    idempotence → retries ≥ 1, maxInFlightPerQueue ≤ 5 a broker remembers the last five requests of a producer and queue
 */
import { OptionsError, type OptionTable, type Options, resolveOptions } from '@tallystick/base';
import { type GivenProducerOptions, PRODUCER_OPTIONS, type ProducerOptions } from '../options.ts';

/** Requests per queue that a broker can tell from repetitions. */
const SEQUENCE_WINDOW = 5;

type Numbers = { -readonly [K in keyof ProducerOptions]: ProducerOptions[K] };

/** Fills in a producer's options. Throws an OptionsError. */
export function producerOptions(owner: string, given: GivenProducerOptions): ProducerOptions {
  return resolveWithRules(owner, PRODUCER_OPTIONS, given);
}

/** As `producerOptions`, for a table with further rows. */
export function resolveWithRules<T extends OptionTable & typeof PRODUCER_OPTIONS>(
  owner: string,
  table: T,
  given: GivenProducerOptions,
): Options<T> {
  const options = resolveOptions(owner, table, given as object) as unknown as Numbers;
  const faults: string[] = [];
  const isGiven = (name: keyof ProducerOptions): boolean => given[name] !== undefined;

  const leastMs = options.lingerMs + options.requestTimeoutMs;
  if (options.deliveryTimeoutMs < leastMs) {
    const restMs = options.deliveryTimeoutMs - options.lingerMs;
    if (!isGiven('deliveryTimeoutMs')) options.deliveryTimeoutMs = leastMs;
    else if (!isGiven('requestTimeoutMs') && restMs > 0) options.requestTimeoutMs = restMs;
    else faults.push(`deliveryTimeoutMs is ${options.deliveryTimeoutMs}, less than lingerMs + requestTimeoutMs, ${leastMs}`);
  }
  if (options.batchSizeBytes > options.maxRequestSizeBytes) {
    if (!isGiven('batchSizeBytes')) options.batchSizeBytes = options.maxRequestSizeBytes;
    else if (!isGiven('maxRequestSizeBytes')) options.maxRequestSizeBytes = options.batchSizeBytes;
    else
      faults.push(`batchSizeBytes is ${options.batchSizeBytes}, more than maxRequestSizeBytes, ${options.maxRequestSizeBytes}`);
  }
  if (options.retryBackoffMs > options.retryBackoffMaxMs) options.retryBackoffMs = options.retryBackoffMaxMs;
  if (options.idempotence) {
    if (options.retries === 0) faults.push('idempotence needs retries of at least 1, not 0');
    if (options.maxInFlightPerQueue > SEQUENCE_WINDOW) {
      if (isGiven('maxInFlightPerQueue')) {
        faults.push(`idempotence needs maxInFlightPerQueue of at most ${SEQUENCE_WINDOW}, not ${options.maxInFlightPerQueue}`);
      } else options.maxInFlightPerQueue = SEQUENCE_WINDOW;
    }
  }
  if (faults.length > 0) throw new OptionsError(owner, faults);
  return options as unknown as Options<T>;
}
