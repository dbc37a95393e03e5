/**
 * A child's line to its parent, over the IPC channel it was started with: it says what it does, waits at a step when the parent may want a fault
 * there, and answers questions. A child never outlives its parent: when the channel closes it stops. Ctrl-C reaches only the parent, which
 * decides; children ignore it.
 */
import type { Step } from './faults.ts';

/** A step at which the parent wants to be asked, from transfer `from` on. */
export interface Watch {
  readonly step: Step;
  readonly from: number;
}

/** What a child does after having waited: go on, or stop itself by SIGSTOP first and go on when it is continued. */
export type Leave = 'go' | 'stand-still';

export type ToParent =
  | { readonly type: 'ready' }
  | {
      readonly type: 'step';
      readonly id: number;
      readonly step: Step;
      readonly number: number;
      readonly serial: string;
      readonly place?: Place;
    }
  | { readonly type: 'note'; readonly text: string }
  | { readonly type: 'disk-forgets' }
  | { readonly type: 'reading'; readonly reading: unknown }
  | { readonly type: 'answer'; readonly id: number; readonly answer: unknown };

export type ToChild =
  | { readonly type: 'watch'; readonly steps: readonly Watch[] }
  | { readonly type: 'leave'; readonly id: number; readonly leave: Leave }
  | { readonly type: 'ask'; readonly id: number; readonly question: string }
  | { readonly type: 'forget' }
  | { readonly type: 'stop' };

/** Where a message lies in the broker. */
export interface Place {
  readonly queueId: number;
  readonly offset: number;
}

export class ParentLine {
  /** Set by the child: ends its work and lets the process exit. */
  onStop: () => void = () => process.exit(0);
  /** Set by the child: answers a question with something that JSON can carry. */
  onAsk: (question: string) => unknown = () => undefined;
  private watched: readonly Watch[] | undefined;
  private readonly beforeWatch: (() => void)[] = [];
  private readonly waiting = new Map<number, (leave: Leave) => void>();
  private nextId = 1;

  constructor() {
    if (process.send === undefined) throw new Error('this command is started by `tallystick demo bank` and not by hand');
    process.on('SIGINT', () => {});
    process.on('SIGTERM', () => this.onStop());
    process.on('disconnect', () => this.onStop());
    process.on('message', (message: ToChild) => this.receive(message));
  }

  /** Tells the parent that this child can do its work. */
  ready(): void {
    this.send({ type: 'ready' });
  }

  /** One line for the live view. */
  note(text: string): void {
    this.send({ type: 'note', text });
  }

  reading(reading: unknown): void {
    this.send({ type: 'reading', reading });
  }

  /** Waits at a step if the parent wants that; otherwise returns at once. A fault may mean that it never returns. */
  async reached(step: Step, number: number, serial: string, place?: Place): Promise<void> {
    if (this.watched === undefined) await new Promise<void>((resolve) => this.beforeWatch.push(resolve));
    if (!this.watched?.some((watch) => watch.step === step && number >= watch.from)) return;
    const id = this.nextId++;
    const leave = await new Promise<Leave>((resolve) => {
      this.waiting.set(id, resolve);
      this.send(
        place === undefined ? { type: 'step', id, step, number, serial } : { type: 'step', id, step, number, serial, place },
      );
    });
    if (leave === 'stand-still') standStill();
  }

  private receive(message: ToChild): void {
    if (message.type === 'watch') {
      this.watched = message.steps;
      for (const resume of this.beforeWatch.splice(0)) resume();
    } else if (message.type === 'leave') {
      const leave = this.waiting.get(message.id);
      this.waiting.delete(message.id);
      leave?.(message.leave);
    } else if (message.type === 'ask') {
      this.send({ type: 'answer', id: message.id, answer: this.onAsk(message.question) });
    } else if (message.type === 'stop') {
      this.onStop();
    }
  }

  private send(message: ToParent): void {
    if (process.connected) process.send?.(message, () => {});
  }
}

/**
 * The whole process stops here, outside any transaction: a SIGSTOP from outside could meet it inside another transfer's, whose lock would then keep
 * everyone else from a verdict. A signal to oneself arrives before the call returns.
 */
function standStill(): void {
  process.kill(process.pid, 'SIGSTOP');
}
