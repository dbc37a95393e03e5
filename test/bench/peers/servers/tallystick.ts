/** Our broker as its users run it: `tallystick broker` with nothing but its flush mode chosen. */
import { startBroker } from '../../processes.ts';
import type { RunningServer } from './server-process.ts';

export function startTallystick(flush: 'sync' | 'async'): Promise<RunningServer> {
  return startBroker(flush);
}
