/** Asks the checker for its final account, as often as it takes: it may be killed like everyone else. */
import { CliError } from '../cli-error.ts';
import type { FinalAccount } from './checker.ts';
import { limited, sleep } from './sleep.ts';
import type { Supervisor } from './supervisor.ts';

const answerLimitMs = 10_000;
const limitMs = 60_000;
const againAfterMs = 200;

export class CheckerLine {
  private readonly supervisor: Supervisor;
  private readonly answers = new Map<number, (answer: unknown) => void>();
  private nextQuestion = 1;

  constructor(supervisor: Supervisor) {
    this.supervisor = supervisor;
  }

  /** The checker has answered a question. */
  answered(id: number, answer: unknown): void {
    this.answers.get(id)?.(answer);
    this.answers.delete(id);
  }

  /** Throws when nobody answers for a minute. */
  async finalAccount(): Promise<FinalAccount> {
    const until = performance.now() + limitMs;
    while (performance.now() < until) {
      if (this.supervisor.isReady('checker')) {
        const answer = await limited(this.ask(), answerLimitMs);
        if (answer !== undefined) return answer as FinalAccount;
      }
      await sleep(againAfterMs);
    }
    throw new CliError(
      `the checker has not answered for ${limitMs / 1000} s`,
      'see its log in the folder of the run',
      'internal',
    );
  }

  private ask(): Promise<unknown> {
    const id = this.nextQuestion++;
    return new Promise((resolve) => {
      this.answers.set(id, resolve);
      this.supervisor.send('checker', { type: 'ask', id, question: 'final' });
    });
  }
}
