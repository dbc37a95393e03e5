/**
 * Whether a person is told now: pure, so the whole policy is this page.
 *
 * ```
 * too much   raised before   silenced   quiet    → told       remembered
 * yes        no              no         –        → raised     raised now, quiet for silenceMs
 * yes        no              yes        –        → –          – (told when the silence ends, if it still holds)
 * yes        yes             no         no       → repeated   quiet for silenceMs
 * yes        yes             yes / –    – / yes  → –          as before
 * no         yes             any        any      → cleared    nothing
 * no         no              any        any      → –          nothing
 * ```
 *
 * A silence hides what is raised and repeated; who was told that something is raised is also told that it is over.
 */
export interface AlarmMemory {
  /** When it was raised, ms since 1970; 0: it is not. */
  readonly raisedAt: number;
  /** Not repeated before this time. */
  readonly quietUntil: number;
}

export const NOT_RAISED: AlarmMemory = { raisedAt: 0, quietUntil: 0 };

export type AlarmEvent = 'raised' | 'repeated' | 'cleared';

export interface AlarmVerdict {
  readonly tell: AlarmEvent | undefined;
  readonly memory: AlarmMemory;
}

export function decideAlarm(
  tooMuch: boolean,
  memory: AlarmMemory,
  silencedUntil: number,
  silenceMs: number,
  nowMs: number,
): AlarmVerdict {
  const isRaised = memory.raisedAt > 0;
  if (!tooMuch) return { tell: isRaised ? 'cleared' : undefined, memory: NOT_RAISED };
  if (silencedUntil > nowMs || (isRaised && memory.quietUntil > nowMs)) return { tell: undefined, memory };
  return {
    tell: isRaised ? 'repeated' : 'raised',
    memory: { raisedAt: isRaised ? memory.raisedAt : nowMs, quietUntil: nowMs + silenceMs },
  };
}
