/**
 * Rot: bits that flip on the disk while the broker is down. In the log it must be noticed (the store refuses to open) or be
 * harmless; in files that are only derived from the log it must never keep the store from opening.
 */
import type { Machine } from './machine.ts';
import type { Plan } from './plan.ts';
import type { Prng } from './prng.ts';

export function plantRot(machine: Machine, plan: Plan, random: Prng): void {
  const inLog = plan.rot === 'log';
  const paths = machine.disk.files().filter((path) => /^log\/\d{20}$/.test(path) === inLog && (inLog || isDerived(path)));
  if (paths.length === 0) return;
  const path = random.pick(paths);
  const used = usedBytes(machine.disk.contents(path));
  if (used === 0) return;
  machine.disk.flipBit(path, random.below(used), random.below(8));
  machine.rotted.push({ path, mayRefuse: inLog });
}

function isDerived(path: string): boolean {
  return /snap|index/.test(path);
}

function usedBytes(bytes: Buffer): number {
  let end = bytes.length;
  while (end > 0 && bytes[end - 1] === 0) end--;
  return end;
}
