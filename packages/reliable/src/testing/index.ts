/** `@tallystick/reliable/testing`: what an application's own tests need, see docs/guides/testing.md. */
export { ManualTime, seededRandom } from '@tallystick/base/testing';
export {
  MemoryBroker,
  memoryBroker,
  type MemoryBrokerSettings,
  type MemoryFault,
  type MemorySubscription,
} from '../transports/memory.ts';
export { expectDelivered, type Wanted } from './expect-delivered.ts';
export { CRASH_STEPS, type CrashStep } from './faults.ts';
export { testKit, type TestKit, type TestKitSettings, type UntilOptions } from './test-kit.ts';
