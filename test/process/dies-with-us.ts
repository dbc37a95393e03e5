/** Child processes that end, at the latest, with the process that started them: one listener for all, however many there are. */
import type { ChildProcess } from 'node:child_process';

const living = new Set<ChildProcess>();
process.on('exit', () => living.forEach((child) => child.kill('SIGKILL')));

/** The child itself, which is forgotten when it has ended. */
export function diesWithUs<C extends ChildProcess>(child: C): C {
  living.add(child);
  child.once('exit', () => living.delete(child));
  return child;
}
