import type { Parts } from './parts.ts';
import { cold, type HandlerTable } from './reply.ts';

const rowsDefault = 1_000;
const rowsMax = 10_000;

/** LIST_HALVES, our own addition: what waits for a verdict, for `tallystick halves` and for whoever looks after parked ones. */
export function listHalvesHandlers({ halves, clock }: Parts): HandlerTable {
  return {
    LIST_HALVES: cold('LIST_HALVES', ({ limit }, reply) => {
      const now = clock.now();
      const rows = halves.table.rows(Math.min(Math.max(1, limit ?? rowsDefault), rowsMax));
      reply.json({
        halves: rows.map(({ id, state, group, topic, storedAtMs, checks, position }) => {
          return { id, state, group, topic, ageMs: Math.max(0, now - storedAtMs), checks, position };
        }),
      });
    }),
  };
}
