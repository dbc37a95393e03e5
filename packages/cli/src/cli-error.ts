/**
 * What a command may end with. Every failure that a person can act on is a CliError: what went wrong, where, and what to do next; the
 * table below gives the exit code of each kind. Anything else that is thrown is a bug and ends with 70 and its stack.
 */
export const exitCodes = {
  ok: { code: 0, sentence: 'done' },
  failed: { code: 1, sentence: 'the command could not do its work, or the demo found a violated invariant' },
  usage: { code: 2, sentence: 'wrong arguments; nothing was done' },
  unavailable: { code: 69, sentence: 'the broker or the database cannot be reached or does not answer' },
  internal: { code: 70, sentence: 'a bug, or a store that failed while the broker was running' },
  interrupted: { code: 130, sentence: 'stopped by Ctrl-C before the work was done' },
} as const;

export type ExitKind = keyof typeof exitCodes;

export class CliError extends Error {
  override readonly name = 'CliError';
  readonly next: string;
  readonly kind: ExitKind;

  /** `message`: what and where; `next`: what to do now. */
  constructor(message: string, next: string, kind: ExitKind = 'failed', cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.next = next;
    this.kind = kind;
  }
}
