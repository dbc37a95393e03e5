import { ByteReader, ByteWriter } from '../byte-pages.ts';
import { ControlType } from '../store/control-records.ts';
import type { RecordView } from '../store/record-view.ts';
import type { Derived } from '../store/store-types.ts';

/**
 * How far each delay level has fired. A fired message and its control record lie in one write group, so after a crash a message
 * has either been delivered and counted, or neither.
 *
 * Control body (final): u16 level, i64 offset of the fired message in the level's queue.
 */
export class DelayState implements Derived {
  readonly name = 'delays';
  readonly records = 'control';
  readonly #next = new Map<number, number>();

  /** The first offset of a level's queue that has not fired. */
  next(level: number): number {
    return this.#next.get(level) ?? 0;
  }

  /** What lies before this offset is gone from the log. */
  skipTo(level: number, offset: number): void {
    if (offset > this.next(level)) this.#next.set(level, offset);
  }

  apply(record: RecordView): void {
    if (record.controlType !== ControlType.DELAYED_FIRED) return;
    const reader = new ByteReader(record.body);
    const level = reader.u16();
    this.#next.set(level, reader.i64() + 1);
  }

  snapshot(): Uint8Array {
    const writer = new ByteWriter(16 + 12 * this.#next.size).u16(SNAPSHOT_VERSION).u16(this.#next.size);
    for (const [level, offset] of this.#next) writer.u16(level).i64(offset);
    return writer.view();
  }

  restore(bytes: Uint8Array): void {
    this.#next.clear();
    const reader = new ByteReader(bytes);
    if (reader.u16() !== SNAPSHOT_VERSION) throw new Error('delays: snapshot of an unknown version');
    for (let left = reader.u16(); left > 0; left--) {
      const level = reader.u16();
      this.#next.set(level, reader.i64());
    }
  }
}

export function firedBody(level: number, offset: number): Uint8Array {
  return new ByteWriter(FIRED_BYTES).u16(level).i64(offset).view();
}

export const FIRED_BYTES = 10;
const SNAPSHOT_VERSION = 1;
