/**
 * Rot: bits that flip on the disk while the broker is down. In the part of the log that a start reads, from the newest snapshot
 * on, it must be noticed (the store refuses to open) or be harmless; in files that are only derived from the log it must never keep the store from opening.
 */
import type { Machine } from './machine.ts';
import type { Plan } from './plan.ts';
import type { Prng } from './prng.ts';

export function plantRot(machine: Machine, plan: Plan, random: Prng): void {
  const inLog = plan.rot === 'log';
  const files = machine.disk.files();
  const newest = Math.max(0, ...files.filter((path) => /^snapshot\/\d{20}$/.test(path)).map((path) => Number(path.slice(-20))));
  const paths = files.filter((path) => (inLog ? /^log\/\d{20}$/.test(path) && Number(path.slice(4)) >= newest : isDerived(path)));
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
