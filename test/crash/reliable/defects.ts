/**
 * Defects built into the harness's own children and servers (never into the packages), each with the scenario that exposes it and the invariant that has
 * to name it. A run in which a defect is not caught has proved nothing.
 */
import type { InvariantName } from './invariants.ts';

export interface DefectRow {
  readonly name: string;
  readonly scenario: string;
  readonly invariant: InvariantName;
  readonly sentence: string;
}

export const DEFECTS = [
  {
    name: 'publish-before-commit',
    scenario: 'kill-app',
    invariant: 'effect-has-commit',
    sentence: 'the app publishes inside its transaction and commits afterwards',
  },
  {
    name: 'no-inbox',
    scenario: 'kill-consumer',
    invariant: 'one-effect',
    sentence: 'the consumer credits every delivery without remembering what it has seen',
  },
  {
    name: 'ack-before-commit',
    scenario: 'kill-consumer',
    invariant: 'nothing-lost',
    sentence: 'the consumer acknowledges first and commits its effect afterwards',
  },
  {
    name: 'settle-without-fence',
    scenario: 'relay-stopped',
    invariant: 'settled-by-holder',
    sentence: 'a relay settles what it claimed without asking whether its lease still holds',
  },
  {
    name: 'competing-relays',
    scenario: 'eight-relays',
    invariant: 'key-order',
    sentence: 'relays take whatever rows no other has locked',
  },
  {
    name: 'polls-id-greater-last',
    scenario: 'late-commit',
    invariant: 'nothing-lost',
    sentence: 'a relay remembers the last number it saw and asks for greater ones only',
  },
  {
    name: 'order-broken',
    scenario: 'broker-down',
    invariant: 'key-order',
    sentence: 'a relay takes the newest messages first',
  },
  {
    name: 'confirm-not-awaited',
    scenario: 'broker-down',
    invariant: 'nothing-lost',
    sentence: 'a relay settles what it has written to the socket, confirmed or not',
  },
  {
    name: 'unknown-taken-for-failure',
    scenario: 'commit-reply-lost',
    invariant: 'made-once',
    sentence: 'the app repeats a transaction whose COMMIT was not answered, without asking what became of it',
  },
  {
    name: 'debit-not-repeated',
    scenario: 'contention',
    invariant: 'effect-has-commit',
    sentence: 'the app does only the rest again when its transaction gave way, as if the debit stood',
  },
  {
    name: 'standby-not-awaited',
    scenario: 'failover',
    invariant: 'effect-has-commit',
    sentence: 'the database answers a commit before its standby has it',
  },
  {
    name: 'confirm-before-commit',
    scenario: 'confirmation',
    invariant: 'confirmed-has-effect',
    sentence: 'the consumer confirms when its effect is written, and commits afterwards',
  },
  {
    name: 'repeat-not-confirmed',
    scenario: 'confirmation',
    invariant: 'all-confirmed',
    sentence: 'the consumer acknowledges what it has seen before without confirming it again',
  },
  {
    name: 'claims-everything',
    scenario: 'backlog',
    invariant: 'bounded',
    sentence: 'a relay reads all there is before it sends the first message',
  },
  {
    name: 'drains-under-lock',
    scenario: 'drain',
    invariant: 'service-unhurt',
    sentence: 'a relay locks the outbox while it sends what is in it',
  },
  {
    name: 'keys-forgotten-early',
    scenario: 'forgotten-keys',
    invariant: 'one-effect',
    sentence: 'the consumer says that nothing comes again later than after 50 ms, and forgets as early',
  },
  {
    name: 'effect-beside-transaction',
    scenario: 'dead-letters',
    invariant: 'ends-once',
    sentence: 'the handler writes its effect on a connection of its own, and fails afterwards',
  },
  {
    name: 'new-serial-on-repeat',
    scenario: 'confirmation',
    invariant: 'one-serial',
    sentence: 'a relay that sends a message again gives it a new serial',
  },
  {
    name: 'lock-not-fenced',
    scenario: 'holder-stopped',
    invariant: 'branches-explained',
    sentence: 'the consumer commits without asking whether the lock is still its own',
  },
  {
    name: 'lock-too-fine',
    scenario: 'holder-stopped',
    invariant: 'branches-explained',
    sentence: 'the consumer locks the message, and not the branch whose total it reads and writes back',
  },
  {
    name: 'done-before-commit',
    scenario: 'kill-consumer',
    invariant: 'nothing-lost',
    sentence: 'the business says that a message is done as soon as its effect is written, before it is committed',
  },
  {
    name: 'effect-not-looked-for',
    scenario: 'effect-known',
    invariant: 'one-effect',
    sentence: 'the business says of no message that it is done, and its key is forgotten',
  },
] as const satisfies readonly DefectRow[];

export type DefectName = (typeof DEFECTS)[number]['name'];
