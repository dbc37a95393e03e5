/**
 * THE numbered steps at which a child can be killed. A child announces a step only when it is armed, and then waits: what comes next has not
 * begun when the kill falls. The table is also the list of what the kill scenarios go through.
 */
export type Role = 'app' | 'relay' | 'consumer' | 'sink' | 'service';

export interface StepRow {
  readonly name: string;
  readonly role: Role;
  readonly number: number;
  readonly sentence: string;
  /** Comes about only where messages are settled by their consumer's confirmation. */
  readonly confirmation?: true;
  /** Comes about only where the consumer's handler has all three guards. */
  readonly guarded?: true;
}

export const STEPS = [
  { name: 'before-begin', role: 'app', number: 1, sentence: 'nothing has been written' },
  { name: 'after-business-write', role: 'app', number: 2, sentence: 'the debit is written, the message is not' },
  { name: 'after-add', role: 'app', number: 3, sentence: 'debit and message are written in the open transaction' },
  { name: 'before-commit', role: 'app', number: 4, sentence: 'COMMIT is the next thing that leaves' },
  { name: 'commit-sent', role: 'app', number: 5, sentence: 'COMMIT has left, its answer has not been read' },
  { name: 'after-commit', role: 'app', number: 6, sentence: 'the database has answered COMMIT' },
  { name: 'after-claim', role: 'relay', number: 1, sentence: 'rows are claimed and read, nothing has left' },
  { name: 'published', role: 'relay', number: 2, sentence: 'messages have left, no confirmation has been read' },
  { name: 'after-publish', role: 'relay', number: 3, sentence: 'the broker has confirmed, nothing is settled' },
  { name: 'before-settle', role: 'relay', number: 4, sentence: 'the settling statement is the next thing that leaves' },
  { name: 'after-settle', role: 'relay', number: 5, sentence: 'the rows are settled' },
  { name: 'after-delivery', role: 'consumer', number: 1, sentence: 'a message has come, nothing has begun' },
  {
    name: 'lock-taken',
    role: 'consumer',
    number: 2,
    sentence: 'the business lock is taken, no transaction has begun',
    guarded: true,
  },
  { name: 'key-written', role: 'consumer', number: 3, sentence: 'the key is written in the open transaction', guarded: true },
  { name: 'looked', role: 'consumer', number: 4, sentence: 'the business has looked and found no effect', guarded: true },
  {
    name: 'decided',
    role: 'consumer',
    number: 5,
    sentence: 'what the lock protects is read, nothing of the effect is written',
    guarded: true,
  },
  { name: 'after-effect', role: 'consumer', number: 6, sentence: 'the credit is written in the open transaction' },
  {
    name: 'before-fence',
    role: 'consumer',
    number: 7,
    sentence: 'the statement that fences the lock is the next thing that leaves',
    guarded: true,
  },
  { name: 'before-effect-commit', role: 'consumer', number: 8, sentence: 'COMMIT of the effect is the next thing that leaves' },
  { name: 'before-ack', role: 'consumer', number: 9, sentence: 'the effect is committed, the message is not acknowledged' },
  { name: 'in-retry', role: 'consumer', number: 10, sentence: 'the message failed once and is handled again' },
  // By message to a topic of the sender's.
  {
    name: 'confirmation-claimed',
    role: 'consumer',
    number: 11,
    sentence: 'effect and confirmation are committed, the confirmation has not left',
    confirmation: true,
  },
  {
    name: 'confirmation-published',
    role: 'consumer',
    number: 12,
    sentence: 'the confirmation is on its way, no broker has confirmed it',
    confirmation: true,
  },
  {
    name: 'confirmation-unsettled',
    role: 'consumer',
    number: 13,
    sentence: 'the broker has the confirmation, the consumer’s own outbox still holds it',
    confirmation: true,
  },
  // By HTTP to an address of the sender's.
  {
    name: 'request-claimed',
    role: 'consumer',
    number: 14,
    sentence: 'effect and request are committed, the request has not left',
    confirmation: true,
  },
  {
    name: 'request-sent',
    role: 'consumer',
    number: 15,
    sentence: 'the request is on its way, no answer has been read',
    confirmation: true,
  },
  {
    name: 'request-unsettled',
    role: 'consumer',
    number: 16,
    sentence: 'the request is answered, the consumer’s own table still holds it',
    confirmation: true,
  },
  {
    name: 'before-repeat-commit',
    role: 'consumer',
    number: 17,
    sentence: 'the message came again: COMMIT of its repeated confirmation is the next thing that leaves',
    confirmation: true,
  },
  {
    name: 'confirmation-received',
    role: 'app',
    number: 7,
    sentence: 'a confirmation has come as a message, nothing is settled',
    confirmation: true,
  },
  {
    name: 'confirmation-settled',
    role: 'app',
    number: 8,
    sentence: 'the row is settled, the confirmation is not acknowledged',
    confirmation: true,
  },
  {
    name: 'request-received',
    role: 'app',
    number: 9,
    sentence: 'a confirmation has come as a request, nothing is settled',
    confirmation: true,
  },
  {
    name: 'request-settled',
    role: 'app',
    number: 10,
    sentence: 'the row is settled, the request is not answered',
    confirmation: true,
  },
] as const satisfies readonly StepRow[];

export type StepName = (typeof STEPS)[number]['name'];
/** Those that are killed step by step. */
export type SteppedRole = (typeof STEPS)[number]['role'];

/** The steps that come about with every message; `guarded`: under all three guards. */
export function stepsOf(role: SteppedRole, guarded = false): readonly (StepRow & { readonly name: StepName })[] {
  return STEPS.filter((step) => step.role === role && !('confirmation' in step) && (guarded || !('guarded' in step)));
}
