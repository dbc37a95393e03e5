export { AdminCore, type TopicSettings } from './admin/admin-core.ts';
export { ClientCore, type ClientCoreOptions, type ConsumerCoreOptions, type TransactionCoreOptions } from './client-core.ts';
export { ClientError, ERRORS, IndefiniteError, type Outcome, SendError } from './errors.ts';
export { ReceivedMessage as ConsumedMessage } from './message/received-message.ts';
export {
  CLIENT_OPTIONS,
  CONSUMER_OPTIONS,
  type GivenClientOptions,
  type GivenConsumerOptions,
  type GivenProducerOptions,
  type GivenTransactionOptions,
  PRODUCER_OPTIONS,
  TRANSACTION_OPTIONS,
} from './options.ts';
export { HeaderMap } from './producer/header-map.ts';
export type { ProducerState } from './producer/inspect.ts';
export type { ProducerInterceptor, SendPlace } from './producer/interceptors.ts';
export type { ProducerMetrics } from './producer/metrics.ts';
export type { Partitioner } from './producer/partitioning/partitioner.ts';
export type { SendDone } from './producer/producer-batch.ts';
export { ProducerCore } from './producer/producer-core.ts';
export { SendReceipt } from './producer/receipt.ts';
export type { HeaderValue, ProducerRecord, RecordHeaders } from './producer/record.ts';
export { SEND_FAILURES, type SendFailure } from './producer/send-failures.ts';
export type { Serializer } from './producer/serializers.ts';
export { PushConsumerCore } from './consumer/push-consumer-core.ts';
export type { QueueKey } from './route/queue-key.ts';
export type { TopicRoute } from './route/topic-route.ts';
export { Admin } from './shell/admin-shell.ts';
export { Client, type ClientSettings } from './shell/client-shell.ts';
export { Consumer, type ConsumerSettings } from './shell/consumer-shell.ts';
export { type OutgoingMessage, Producer, type ProducerSettings, type PublishOutcome } from './shell/producer-shell.ts';
export { SendFuture } from './shell/send-future.ts';
export {
  type PendingHalf,
  TransactionProducer,
  type TransactionListener,
  type TransactionResult,
  type TransactionSettings,
} from './shell/transaction-producer-shell.ts';
export type { Verdict } from './transaction/end-request.ts';
export { Half, type TransactionCallbacks, TransactionProducerCore } from './transaction/transaction-producer-core.ts';
