/** Which child process does what. */
import type { ChildOptions } from './child-options.ts';

export type Role = 'bank-a' | 'bank-a-standby' | 'bank-b' | 'checker';

export async function runChild(role: Role, options: ChildOptions): Promise<void> {
  if (role === 'checker') {
    const { runChecker } = await import('./checker.ts');
    runChecker({ bankA: options.bankA, bankB: options.bankB, transfers: options.plan.transfers });
  } else if (role === 'bank-b') {
    const { runBankB } = await import('./bank-b.ts');
    await runBankB(options);
  } else {
    const { runBankA } = await import('./bank-a.ts');
    await runBankA(options, role === 'bank-a-standby');
  }
}
