/**
 * What a person sees while the demo runs. On a terminal: one block that is redrawn in place, with both banks' balances, the sum, the transfers by state, the
 * faults and what happened last. Elsewhere: plain lines, one per event, and none at all with --json (the parent then gives no view).
 */
import { styleText } from 'node:util';
import type { RunningAccount } from './checker.ts';
import { holdAccount } from './schema.ts';
import type { AccountRow } from './reading.ts';

export interface ViewOptions {
  readonly out: NodeJS.WriteStream;
  readonly transfers: number;
  readonly title: string;
  /** Names of the planned faults, in the order in which they are shown. */
  readonly faults: readonly string[];
}

export interface View {
  account(account: RunningAccount): void;
  /** One thing that happened. */
  event(text: string): void;
  fault(name: string, state: 'fired' | 'confirmed' | 'missed'): void;
  /** Leaves the last picture standing. */
  end(): void;
}

/** A live view on a terminal, plain lines elsewhere. */
export function viewOn(options: ViewOptions): View {
  return options.out.isTTY ? new LiveView(options) : new PlainView(options);
}

/** For --json: nobody is looking. */
export const noView: View = { account: () => {}, event: () => {}, fault: () => {}, end: () => {} };

const redrawMs = 100;
const eventsShown = 8;
const barWidth = 40;

class LiveView implements View {
  private readonly options: ViewOptions;
  private readonly startedAt = Date.now();
  private readonly events: string[] = [];
  private readonly faults: Map<string, string>;
  private readonly timer: NodeJS.Timeout;
  private latest: RunningAccount | undefined;
  private linesDrawn = 0;
  private ended = false;

  constructor(options: ViewOptions) {
    this.options = options;
    this.faults = new Map(options.faults.map((name) => [name, 'planned']));
    this.timer = setInterval(() => this.draw(), redrawMs);
  }

  account(account: RunningAccount): void {
    this.latest = account;
  }

  event(text: string): void {
    this.events.push(`${this.seconds().padStart(5)} s  ${text}`);
    if (this.events.length > eventsShown) this.events.shift();
  }

  fault(name: string, state: 'fired' | 'confirmed' | 'missed'): void {
    if (this.faults.get(name) !== 'confirmed') this.faults.set(name, state);
  }

  end(): void {
    if (this.ended) return;
    this.ended = true;
    clearInterval(this.timer);
    this.draw();
  }

  private draw(): void {
    const { out } = this.options;
    const width = Math.max(40, out.columns || 80);
    const lines = this.lines((out.rows || 24) - 1).map((line) => clip(line, width - 1));
    const up = this.linesDrawn === 0 ? '' : `\x1b[${this.linesDrawn}A`;
    out.write(`${up}${lines.map((line) => `\x1b[2K${line}\n`).join('')}\x1b[0J`);
    this.linesDrawn = lines.length;
  }

  /** At most `height` lines: a taller picture could not be drawn over. The oldest events give way. */
  private lines(height: number): string[] {
    const { latest } = this;
    const head = [styleText('bold', this.options.title), ''];
    const middle = latest === undefined ? ['  the banks open …'] : this.bankLines(latest);
    const faults = [...this.faults].map(([name, state]) => faultMark(state) + name);
    const above = [
      ...head,
      ...middle,
      '',
      `  faults  ${faults.slice(0, 4).join('   ')}`,
      `          ${faults.slice(4).join('   ')}`,
      '',
    ];
    return [...above, ...this.eventLines(Math.max(1, Math.min(eventsShown, height - above.length)))];
  }

  private bankLines({ figures, violations, accountsA, accountsB }: RunningAccount): string[] {
    const rows = Math.max(accountsA.length, accountsB.length);
    const [a, b] = [sorted(accountsA), sorted(accountsB)];
    const accounts = Array.from({ length: rows }, (_, i) => `  ${accountText(a[i])}      ${accountText(b[i])}`);
    const whole = violations.length === 0 && figures.money + figures.onTheWay === figures.moneyBefore;
    const sum = `${money(figures.money)} in accounts + ${money(figures.onTheWay)} on the way = ${money(figures.money + figures.onTheWay)}`;
    const share = figures.settled / this.options.transfers;
    return [
      `  ${styleText('underline', "Ann's bank".padEnd(24))}      ${styleText('underline', "Bob's bank".padEnd(24))}`,
      ...accounts,
      '',
      `  ${sum}  ${whole ? styleText('green', '✓ nothing missing') : styleText('red', `✗ was ${money(figures.moneyBefore)}`)}`,
      `  ${bar(share)} ${figures.settled} of ${this.options.transfers} settled, ${figures.inProcess} in process, ${figures.onTheWay === 0 ? 'none' : figures.missingInB} on the way   ${this.seconds()} s`,
    ];
  }

  private eventLines(count: number): string[] {
    const events = this.events.slice(-count);
    return Array.from({ length: count }, (_, i) => `  ${events[i] ?? ''}`);
  }

  private seconds(): string {
    return ((Date.now() - this.startedAt) / 1000).toFixed(1);
  }
}

class PlainView implements View {
  private readonly options: ViewOptions;
  private lastShare = 0;

  constructor(options: ViewOptions) {
    this.options = options;
    this.line(options.title);
  }

  account({ figures }: RunningAccount): void {
    const share = Math.floor((figures.settled / this.options.transfers) * 10);
    if (share <= this.lastShare) return;
    this.lastShare = share;
    const sum = money(figures.money + figures.onTheWay);
    this.line(`${figures.settled} of ${this.options.transfers} settled, ${figures.inProcess} in process, sum ${sum}`);
  }

  event(text: string): void {
    this.line(text);
  }

  fault(): void {}

  end(): void {}

  private line(text: string): void {
    this.options.out.write(`${text}\n`);
  }
}

/** Minor units as people write them. */
export function money(minor: number): string {
  const sign = minor < 0 ? '-' : '';
  const abs = Math.abs(minor);
  const whole = String(Math.floor(abs / 100)).replace(/\B(?=(\d{3})+$)/g, ' ');
  return `${sign}${whole}.${String(abs % 100).padStart(2, '0')}`;
}

function accountText(row: AccountRow | undefined): string {
  return row === undefined ? ' '.repeat(24) : `${row.id.padEnd(6)}${money(row.balance).padStart(18)}`;
}

function sorted(rows: readonly AccountRow[]): AccountRow[] {
  return [...rows].sort((x, y) => Number(x.id === holdAccount) - Number(y.id === holdAccount) || (x.id < y.id ? -1 : 1));
}

function bar(share: number): string {
  const full = Math.round(share * barWidth);
  return `${'█'.repeat(full)}${'░'.repeat(barWidth - full)}`;
}

function faultMark(state: string): string {
  if (state === 'confirmed') return styleText('green', '✓ ');
  return state === 'fired' ? styleText('yellow', '⚡') : styleText('dim', '· ');
}

/** Cuts a line to a width, not counting colour codes. */
function clip(line: string, width: number): string {
  let seen = 0;
  let out = '';
  for (let i = 0; i < line.length; i++) {
    if (line[i] === '\x1b') {
      const end = line.indexOf('m', i);
      out += line.slice(i, end + 1);
      i = end;
    } else if (seen < width) {
      out += line[i];
      seen++;
    }
  }
  return out;
}
