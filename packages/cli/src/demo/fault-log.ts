/**
 * What was seen from outside during a run, one JSON line each in `fault-log.jsonl`: exits of processes, frames swallowed or seen by the proxies,
 * dead letters, and each fault as it fired and as it was confirmed. The report at the end is computed from the file, not from memory.
 */
import { appendFileSync, readFileSync } from 'node:fs';
import type { FaultName } from './faults.ts';
import type { InvariantName } from './invariants.ts';

export type Observation =
  | { readonly what: 'fault-fired'; readonly fault: FaultName; readonly number: number; readonly serial: string }
  | {
      readonly what: 'fault-confirmed';
      readonly fault: FaultName;
      readonly number: number;
      readonly serial: string;
      readonly seen: string;
    }
  | { readonly what: 'fault-missed'; readonly fault: FaultName; readonly number: number; readonly why: string }
  | {
      readonly what: 'exit';
      readonly name: string;
      readonly pid: number;
      readonly code: number | null;
      readonly signal: string | null;
    }
  | { readonly what: 'start'; readonly name: string; readonly pid: number }
  | { readonly what: 'ready'; readonly name: string }
  | { readonly what: 'disk-forgets' }
  | { readonly what: 'stopped' | 'continued'; readonly name: string; readonly pid: number }
  | { readonly what: 'swallowed'; readonly serial: string }
  | { readonly what: 'check-back'; readonly serial: string }
  | { readonly what: 'verdict'; readonly serial: string; readonly verdict: 'commit' | 'rollback'; readonly checkedBack: boolean }
  | { readonly what: 'cut'; readonly name: string; readonly connections: number }
  | { readonly what: 'reconnected'; readonly name: string; readonly refused: number }
  | { readonly what: 'acknowledged'; readonly serial: string }
  | { readonly what: 'offset-committed'; readonly queueId: number; readonly offset: number }
  | { readonly what: 'dead-letter'; readonly serial: string }
  | { readonly what: 'mended'; readonly serial: string }
  | { readonly what: 'violation'; readonly invariant: InvariantName; readonly seen: string };

type Listener = (observation: Observation) => void;

export class FaultLog {
  private readonly path: string;
  private readonly listeners = new Set<Listener>();

  constructor(path: string) {
    this.path = path;
  }

  /** Writes one line, then tells everyone who listens. */
  add(observation: Observation): void {
    appendFileSync(this.path, `${JSON.stringify({ at: new Date().toISOString(), ...observation })}\n`);
    for (const listener of [...this.listeners]) listener(observation);
  }

  /** Tells `listener` of everything from now on; call the result to stop. */
  listen(listener: Listener): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  /** The first observation from now on that `wanted` accepts, or undefined after `limitMs`. */
  next(wanted: (observation: Observation) => boolean, limitMs: number): Promise<Observation | undefined> {
    return new Promise((resolve) => {
      const end = (observation: Observation | undefined) => {
        clearTimeout(timer);
        stop();
        resolve(observation);
      };
      const timer = setTimeout(() => end(undefined), limitMs);
      const stop = this.listen((observation) => {
        if (wanted(observation)) end(observation);
      });
    });
  }
}

/** Reads a log back; an absent file is an empty log. */
export function readFaultLog(path: string): Observation[] {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch {
    return [];
  }
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Observation);
}
