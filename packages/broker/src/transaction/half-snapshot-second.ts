import { hex8, OPEN, PAGE_HALVES } from './half-page.ts';
import { check, filled, type FactsReader } from './half-snapshot.ts';

/**
 * Facts of a page in a snapshot of the second version, whose makers had 24 digits of the key and whose ages counted from the page's
 * time:
 *
 *     i64 base position  i64 base ms  blob makers: u32 group, topic, three words of the key
 *     blobs of columns: u32 position, u16 age, u8 its top, u16 maker, u32 last word of the key, u8 checks
 *     far positions, far times, odd keys: u32 count, u16 slot and value each
 */
export const readSecondFacts: FactsReader = (reader, facts, states, slots, rename) => {
  const basePosition = reader.i64();
  const baseMs = reader.i64();
  const makerBytes = reader.blob();
  const makers = filled(new Uint32Array(makerBytes.length >> 2), makerBytes);
  check(makers.length % MAKER_WORDS === 0, 'half a maker');
  const rows = slots?.length ?? PAGE_HALVES;
  const positions = filled(new Uint32Array(rows), reader.blob());
  const ages = filled(new Uint16Array(rows), reader.blob());
  const ageTops = filled(new Uint8Array(rows), reader.blob());
  const makerOf = filled(new Uint16Array(rows), reader.blob());
  const lows = filled(new Uint32Array(rows), reader.blob());
  const checks = filled(new Uint8Array(rows), reader.blob());
  const far = new Map<number, number>();
  const aged = new Map<number, number>();
  const odd = new Map<number, string>();
  for (const map of [far, aged]) for (let left = reader.u32(); left > 0; left--) map.set(reader.u16(), reader.i64());
  for (let left = reader.u32(); left > 0; left--) odd.set(reader.u16(), reader.text());
  facts.begin(basePosition);
  for (let n = 0; n < rows; n++) {
    const slot = slots?.[n] ?? n;
    if (states[slot] !== OPEN) continue;
    const at = makerOf[n]! * MAKER_WORDS;
    check(at < makers.length, 'a half without a maker');
    const [group, topic] = rename(makers[at]!, makers[at + 1]!);
    const digits = [makers[at + 2]!, makers[at + 3]!, makers[at + 4]!, lows[n]!];
    const key = Buffer.from(odd.get(slot) ?? digits.map(hex8).join(''));
    const position = positions[n]! > 0 ? basePosition + positions[n]! - 1 : (far.get(slot) ?? -1);
    const ms = aged.get(slot) ?? baseMs + ages[n]! + ageTops[n]! * 65_536;
    facts.set(slot, position, ms, group, topic, key, 0, key.length);
    facts.checks[slot] = checks[n]!;
  }
};

const MAKER_WORDS = 5;
