export { createCalls, type CallRequest, type Calls, type CallSettings } from './call/call.ts';
export { ALL_KINDS } from './alarms/alarm-rows.ts';
export { createAlarms, TOLD_KINDS, type Alarms, type AlarmsSettings } from './alarms/alarms.ts';
export type { FedAlarm } from './alarms/fed.ts';
export type { AlarmExample, AlarmNotice } from './alarms/notice.ts';
export { ALARM_KINDS, type AlarmRules, type WatchedKind } from './alarms/rules.ts';
export { signWebhook, verifyWebhook, type Verified, type VerifyOptions, type WebhookRequest } from './alarms/signature.ts';
export type { Fetch, WebhookSettings } from './alarms/webhook.ts';
export * from './errors.ts';
export { watchWrongUse, type WatchSettings, type WrongUse, type WrongUseWatch } from './guard/watch-wrong-use.ts';
export { createLocks, type HeldLock, type LockPorts, type Locks, type LockSettings } from './inbox/locks.ts';
export { createInbox, type Inbox, type InboxSettings, type OnceResult } from './inbox/inbox.ts';
export type { EmittingOutbox } from './inbox/effects.ts';
export type { Handler, HandlerContext, HandleSettings, Received } from './inbox/handlers.ts';
export type { InboxAlarm, TroubledMessage } from './inbox/inbox-alarm.ts';
export type { InboxCounters } from './inbox/retries.ts';
export { updateVersion, type VersionedUpdate } from './inbox/update-version.ts';
export { windowWarning } from './inbox/window.ts';
export {
  createLocalTransactionTable,
  type CheckedMessage,
  type LocalTransactionSettings,
  type LocalTransactionTable,
  type Verdict,
} from './local-transaction/local-transaction-table.ts';
export type { ActItem, ActOptions, ActReport } from './monitor/act.ts';
export type { ListedRow } from './monitor/listed-row.ts';
export {
  COUNT_MAX,
  createMonitor,
  type BlockedKey,
  type Counts,
  type ListQuery,
  type Monitor,
  type MonitorSettings,
  type ShownRow,
} from './monitor/monitor.ts';
export type { Action } from './monitor/monitor-statements.ts';
export type { BodyPreview } from './monitor/preview.ts';
export type { Selected, Selection } from './monitor/selection.ts';
export {
  ALARM_OPTIONS,
  CALL_OPTIONS,
  HANDLER_OPTIONS,
  INBOX_OPTIONS,
  LOCAL_TRANSACTION_OPTIONS,
  LOCK_OPTIONS,
  OUTBOX_OPTIONS,
  RELAY_OPTIONS,
} from './options.ts';
export {
  CONFIRMATION_TYPE,
  confirmationFrom,
  confirmationOf,
  REPLY_TO,
  type Confirmation,
  type ConfirmationOwed,
} from './outbox/confirmation.ts';
export type { ConfirmOutcome } from './outbox/confirm.ts';
export {
  SIGNATURE_HEADER,
  signatureOf,
  type ConfirmationCounters,
  type ConfirmationHandlerOptions,
} from './outbox/confirmations.ts';
export { CONTENT_TYPE } from './outbox/message.ts';
export {
  GUARANTEES,
  msg,
  type Body,
  type Confirm,
  type DeliveryMode,
  type Guarantee,
  type Guarantees,
  type MessageId,
  type MessageSettings,
  type MessageType,
  type MessageTypes,
  type NewMessage,
} from './outbox/message-types.ts';
export { ID_PATTERN, MessageIds, SHARDS, shardOf } from './outbox/message-id.ts';
export type { OutboxAlarm } from './outbox/outbox-alarm.ts';
export { createOutbox, type Outbox, type OutboxCounters, type OutboxSettings, type OutboxWriter } from './outbox/outbox.ts';
export { STATUS_ORDER, type MessageStatus, type StatusAnswer, type StatusDetails, type StatusQuestion } from './outbox/status.ts';
export type { VolatileCounters } from './outbox/volatile.ts';
export { afterCommit } from './outbox/after-commit.ts';
export type { Alarm, TroubledRow } from './relay/alarm.ts';
export type { RelayCounters } from './relay/flight.ts';
export { createRelay, type Relay, type RelaySettings } from './relay/relay.ts';
export type { Dialect } from './sql/dialect.ts';
export { verifyDurability, type DurabilityOptions, type DurabilityReport } from './sql/durability.ts';
export type { ServerDurabilityReport, ServerSetting } from './sql/postgres-durability.ts';
export { connectionsOf, type Connections } from './sql/connections.ts';
export { HANDLE_CAPABILITIES, type HandleCapabilities } from './sql/handles/capabilities.ts';
export type {
  Answer,
  AsyncHandle,
  Database,
  Handle,
  PrismaRoot,
  Root,
  SyncHandle,
  SyncStatement,
  TransactionOf,
  TransactionOutcome,
} from './sql/handles.ts';
export {
  migrate,
  migrationPlan,
  migrationSql,
  type MigrationPlan,
  type MigrationReport,
  type MigrationSettings,
} from './sql/migrate.ts';
export { mysql } from './sql/mysql.ts';
export { postgres } from './sql/postgres.ts';
export { sqlite } from './sql/sqlite.ts';
export { TABLES, type MessageTable, type RowState } from './sql/tables.ts';
export { transaction, type TransactionOptions } from './sql/transaction.ts';
export {
  MemoryBroker,
  memoryBroker,
  type MemoryBrokerSettings,
  type MemoryFault,
  type MemorySubscription,
} from './transports/memory.ts';
export { CALL_METHOD, CALL_URL, HTTP_TRANSPORT_OPTIONS, httpTransport, type HttpTransportSettings } from './transports/http.ts';
export { otel, type OtelApi, type OtelOptions } from './telemetry/otel.ts';
export type { Telemetry } from './telemetry/telemetry.ts';
export { observeOutbox, tracedReceive, tracedTransport } from './telemetry/traced.ts';
export type {
  RabbitChannel,
  RabbitConfirmChannel,
  RabbitConnect,
  RabbitConnection,
  RabbitMessage,
} from './transports/rabbit-driver.ts';
export { RABBIT_SUBSCRIBER_OPTIONS, RABBIT_TRANSPORT_OPTIONS } from './transports/rabbit-options.ts';
export {
  rabbitSubscriber,
  type RabbitSubscriber,
  type RabbitSubscriberSettings,
  type RabbitSubscription,
} from './transports/rabbit-subscriber.ts';
export {
  rabbitTransport,
  type RabbitTransport,
  type RabbitTransportSettings,
  type RabbitTransportState,
} from './transports/rabbit-transport.ts';
export {
  tallystickSubscriber,
  type TallystickSubscriberSettings,
  tallystickTransport,
  type TallystickClient,
  type TallystickProducer,
} from './transports/tallystick.ts';
export * from './transports/transport.ts';
