import { ByteReader, ByteWriter } from '../byte-pages.ts';

/**
 * Bodies of the control records about half messages. Final layouts.
 *
 *   rollback      i64 half position, i64 half-queue offset
 *   check counts  u32 n, then n × (i64 first half-queue offset, u32 how many in a row, u8 questions sent so far | 255 = parked)
 */
export function rollbackBody(position: number, offset: number): Uint8Array {
  return new ByteWriter(16).i64(position).i64(offset).view();
}

export function readRollback(body: Uint8Array): { readonly position: number; readonly offset: number } {
  const reader = new ByteReader(body);
  return { position: reader.i64(), offset: reader.i64() };
}

/** Gathers the counts of one round of questions; neighbours with the same count become one run. */
export class CheckCounts {
  readonly #runs: { first: number; length: number; count: number }[] = [];

  get isEmpty(): boolean {
    return this.#runs.length === 0;
  }

  /** Offsets come in ascending order. */
  add(offset: number, count: number): void {
    const last = this.#runs.at(-1);
    if (last !== undefined && last.count === count && last.first + last.length === offset) last.length++;
    else this.#runs.push({ first: offset, length: 1, count });
  }

  body(): Uint8Array {
    const writer = new ByteWriter(4 + 13 * this.#runs.length).u32(this.#runs.length);
    for (const { first, length, count } of this.#runs) writer.i64(first).u32(length).u8(count);
    return writer.view();
  }
}

/** In check counts: the half was parked. */
export const PARKED_COUNT = 255;

export function readCheckCounts(body: Uint8Array, visit: (offset: number, count: number) => void): void {
  const reader = new ByteReader(body);
  for (let left = reader.u32(); left > 0; left--) {
    const first = reader.i64();
    const length = reader.u32();
    const count = reader.u8();
    for (let at = 0; at < length; at++) visit(first + at, count);
  }
}
