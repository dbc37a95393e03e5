export { BrokerCore, type BrokerPorts, type BrokerSignals } from './broker.ts';
export { BROKER_OPTIONS, type BrokerOptions, type GivenBrokerOptions } from './options.ts';
export { Broker, type BrokerSettings } from './shell/broker-shell.ts';
export type { Counters } from './counters.ts';
export type { ShownHalf } from './handlers/admin.ts';
export type { RecoveryReport, StoreInfo } from './store/store-types.ts';
