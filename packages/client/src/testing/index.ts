/** `@tallystick/client/testing`: producers for an application's own tests, see docs/guides/testing.md. */
export type { MockSent, MockSettings } from './mock-calls-shell.ts';
export { MockProducer, type MockProducerSettings } from './mock-producer-shell.ts';
export { MockTransactionProducer, type MockTransactionSettings } from './mock-transaction-producer-shell.ts';
