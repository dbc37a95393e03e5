/**
 * The history of a crash run as JSON lines: one event per line, written as things happen, by the harness and never by the broker.
 * The checker reads the file back and knows nothing else.
 */
import { closeSync, openSync, readFileSync, writeSync } from 'node:fs';
import { Ledger, type Intent } from '../checkers/ledger.ts';

export type Event =
  | { readonly op: 'invoke'; readonly id: string; readonly topic: string; readonly crc: number; readonly half: boolean }
  | { readonly op: 'confirm'; readonly id: string; readonly queueId: number; readonly offset: number; readonly position: number }
  | { readonly op: 'rejected' | 'unknown'; readonly id: string }
  | { readonly op: 'decide'; readonly id: string; readonly truth: 'commit' | 'rollback' }
  | {
      readonly op: 'saw';
      readonly reader: string;
      readonly topic: string;
      readonly queueId: number;
      readonly offset: number;
      readonly id: string;
      readonly crc: number;
    }
  | {
      readonly op: 'offset';
      readonly group: string;
      readonly topic: string;
      readonly queueId: number;
      readonly offset: number;
      readonly maxOffset: number;
    }
  | { readonly op: 'killed'; readonly cycle: number; readonly unanswered: number; readonly during: readonly string[] };

export class History {
  readonly path: string;
  readonly #fd: number;
  readonly #startMs = performance.now();
  #lines: string[] = [];

  constructor(path: string) {
    this.path = path;
    this.#fd = openSync(path, 'w');
  }

  write(event: Event): void {
    this.#lines.push(JSON.stringify({ t: Number((performance.now() - this.#startMs).toFixed(3)), ...event }));
    if (this.#lines.length === 1000) this.#flush();
  }

  close(): void {
    this.#flush();
    closeSync(this.#fd);
  }

  #flush(): void {
    if (this.#lines.length > 0) writeSync(this.#fd, `${this.#lines.join('\n')}\n`);
    this.#lines = [];
  }
}

/** Replays a history into a ledger. */
export function readHistory(path: string): Ledger {
  const ledger = new Ledger();
  for (const line of readFileSync(path, 'utf8').split('\n'))
    if (line !== '') apply(ledger, JSON.parse(line) as Event & { t: number });
  return ledger;
}

function apply(ledger: Ledger, event: Event & { t: number }): void {
  switch (event.op) {
    case 'invoke':
      ledger.invoke(event.id, event.topic, event.crc, event.t, event.half);
      return;
    case 'confirm':
      return ledger.confirm(intentOf(ledger, event.id), event.t, event.queueId, event.offset, event.position);
    case 'rejected':
    case 'unknown':
      return ledger.answer(intentOf(ledger, event.id), event.op, event.t);
    case 'decide':
      return ledger.decide(intentOf(ledger, event.id), event.truth);
    case 'saw':
      return ledger.saw(event, event.reader);
    case 'offset':
      return ledger.offsetRead(event.group, event.topic, event.queueId, event.offset, event.maxOffset);
    case 'killed':
  }
}

function intentOf(ledger: Ledger, id: string): Intent {
  const intent = ledger.intents.get(id);
  if (intent === undefined) throw new Error(`the history answers ${id} without having asked it`);
  return intent;
}
