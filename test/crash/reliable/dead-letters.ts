/**
 * How messages end that can never be handled: what bank B holds of each, beside what bank A has sent. A process that dies leaves every attempt
 * unfinished that it had in hand, so its death allows one more beginning, but never one more failure.
 */
import { causeOf } from './bank.ts';
import type { DoomedOptions } from './child/line.ts';
import type { Violation } from './invariants.ts';
import type { Stage } from './stage.ts';

export interface DeadLetter {
  readonly number: number;
  readonly state: string;
  readonly outcome: string | null;
  readonly cause: string | null;
  /** Failures that its row has counted. */
  readonly attempts: number;
  /** How often its handler has begun, as the handler says. */
  readonly begun: number;
  /** Effects in bank B. */
  readonly effects: number;
  /** As it was sent, and as it lies there. */
  readonly sent: string;
  readonly kept: string;
}

export async function readDeadLetters(stage: Stage): Promise<DeadLetter[]> {
  const numbers = stage.doomed?.numbers ?? [];
  const sent = await stage.servers.a.with(stage.databaseA, async (client) => {
    const { rows } = await client.query<Record<string, string>>('select * from journal where number = any($1)', [numbers]);
    return rows;
  });
  const letters = await stage.servers.b.with(stage.databaseB, async (client) => {
    const { rows } = await client.query<Record<string, string>>(
      `select i.id, i.state, i.last_outcome, i.last_error, i.attempts, convert_from(b.body, 'UTF8') as body,
         (select count(*) from attempt t where t.serial = i.id) as begun, (select count(*) from journal j where j.serial = i.id) as effects
       from tallystick_inbox i left join tallystick_inbox_body b using (id, channel) where i.id = any($1)`,
      [sent.map((row) => row['serial'])],
    );
    return new Map(rows.map((row) => [row['id'], row]));
  });
  return sent.map((row) => {
    const letter = letters.get(row['serial']);
    const number = Number(row['number']);
    const message = {
      number,
      account: row['account'],
      amount: row['amount'],
      keySequence: Number(row['key_sequence']),
      note: row['note'],
    };
    return {
      number,
      state: letter?.['state'] ?? 'nowhere',
      outcome: letter?.['last_outcome'] ?? null,
      cause: letter?.['last_error'] ?? null,
      attempts: Number(letter?.['attempts'] ?? 0),
      begun: Number(letter?.['begun'] ?? 0),
      effects: Number(letter?.['effects'] ?? 0),
      sent: JSON.stringify(message),
      kept: letter?.['body'] ?? '',
    };
  });
}

/** `kills`: how often a process was killed that handles them. Pure. */
export function judgeDeadLetters(
  letters: readonly DeadLetter[],
  { numbers, attemptsMax }: DoomedOptions,
  kills: number,
): Violation[] {
  const wrong = letters.flatMap((letter) => {
    const { number, state, outcome, cause, attempts, begun, effects, sent, kept } = letter;
    const mayBegin = attemptsMax + kills;
    return [
      ...(state === 'dead' ? [] : [`transfer ${number} is ${state}`]),
      ...(effects === 0 ? [] : [`transfer ${number} is ${state} and has ${effects} effects`]),
      ...(attempts === attemptsMax ? [] : [`transfer ${number} has ${attempts} failures of ${attemptsMax}`]),
      ...(begun >= attempts && begun <= mayBegin
        ? []
        : [`transfer ${number} was begun ${begun} times, at most ${mayBegin} it may`]),
      ...(outcome === 'failed' && cause === causeOf(number) ? [] : [`transfer ${number} died of ${outcome}: ${cause}`]),
      ...(kept === sent ? [] : [`transfer ${number} lies there as ${kept}, sent was ${sent}`]),
    ];
  });
  const missing = numbers.filter((number) => !letters.some((letter) => letter.number === number));
  return [...wrong, ...missing.map((number) => `transfer ${number} was never made`)].map((seen) => ({
    invariant: 'ends-once',
    seen,
  }));
}
