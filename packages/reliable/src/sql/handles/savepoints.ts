/**
 * Which savepoint somebody's wish belongs to: whoever waits for the end of a transaction is told when a savepoint is rolled back that was
 * made before he came, since what he did is undone then, though the transaction goes on. One made before anybody watched is not known by name;
 * it lies around everything that is known.
 */
import { controlsOf } from './control.ts';

export class Savepoints {
  /** In the order in which they came. */
  #list: (Mark | (() => void))[] = [];

  /** A text has run whose statements all succeeded. */
  ran(text: string): void {
    if (!OF_SAVEPOINTS.test(text)) return;
    for (const control of controlsOf(text)) {
      if (control?.does === 'save') this.made(control.name);
      else if (control?.does === 'release') this.released(control.name);
      else if (control?.does === 'undo') this.undone(control.name);
    }
  }

  made(name: string | undefined): void {
    this.#list.push({ name });
  }

  /** What was done in it belongs to what is around it now. */
  released(name: string | undefined): void {
    const at = this.#last(name);
    this.#list = this.#list.filter((one, i) => i < at || typeof one === 'function');
  }

  /** Calls those that came since, of those that had come by `until`; the savepoint itself stays. */
  undone(name: string | undefined, until: ReadonlySet<unknown> = this.here()): void {
    const gone = new Set(this.#list.slice(this.#last(name) + 1).filter((one) => until.has(one)));
    this.#list = this.#list.filter((one) => !gone.has(one));
    for (const one of gone) if (typeof one === 'function') one();
  }

  /** All that has come until now. */
  here(): ReadonlySet<unknown> {
    return new Set(this.#list);
  }

  /** `told` is called, once, when something that is done now has been undone by a savepoint. */
  whenUndone(told: () => void): void {
    this.#list.push(told);
  }

  /** The place of the last savepoint of this name; before everything where there is none. */
  #last(name: string | undefined): number {
    if (name === undefined) return -1;
    return this.#list.findLastIndex((one) => typeof one !== 'function' && one.name === name);
  }
}

/** Nearly every text is none of these, and need not be read. */
export const OF_SAVEPOINTS = /\b(savepoint|release|rollback)\b/i;

interface Mark {
  readonly name: string | undefined;
}
