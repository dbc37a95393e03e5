import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { cycles } from '../../scripts/tidy/cycles.ts';
import { projectOf } from './project-of.ts';

const at = (name: string): string => `packages/broker/src/store/${name}.ts`;

describe('cycles', () => {
  it('reports a ring once, with the way round', () => {
    const found = cycles(
      projectOf({
        [at('a')]: `import './b.ts';`,
        [at('b')]: `import './c.ts';`,
        [at('c')]: `\nimport './a.ts';`,
        [at('d')]: `import './a.ts';`,
      }),
    );
    expect(found).toHaveLength(1);
    expect(found[0]?.message).toBe(`imports itself: ${['a', 'b', 'c', 'a'].map(at).join(' → ')}`);
  });

  it('counts an import of types like one of values', () => {
    const found = cycles(
      projectOf({ [at('a')]: `import type { B } from './b.ts';`, [at('b')]: `export { type A } from './a.ts';` }),
    );
    expect(found.map(({ path }) => path)).toEqual([at('a')]);
  });

  it('reports a file that imports itself', () => {
    expect(cycles(projectOf({ [at('a')]: `import './a.ts';` }))).toHaveLength(1);
  });

  it('agrees with reachability on random graphs', () => {
    const graph = fc.array(fc.tuple(fc.nat(7), fc.nat(7)), { maxLength: 14 });
    fc.assert(
      fc.property(graph, (pairs) => {
        const texts: Record<string, string> = {};
        for (let n = 0; n < 8; n++)
          texts[at(`f${n}`)] = pairs.flatMap(([from, to]) => (from === n ? `import './f${to}.ts';` : [])).join('\n');
        const rings = new Set<string>();
        for (let n = 0; n < 8; n++) {
          const reached = reach(pairs, n);
          if (reached.has(n))
            rings.add(
              [...reached]
                .filter((m) => reach(pairs, m).has(n))
                .toSorted((a, b) => a - b)
                .join(),
            );
        }
        expect(cycles(projectOf(texts))).toHaveLength(rings.size);
      }),
    );
  });
});

function reach(pairs: readonly (readonly [number, number])[], start: number): Set<number> {
  const seen = new Set<number>();
  const queue = [start];
  for (let n = queue.pop(); n !== undefined; n = queue.pop())
    for (const [from, to] of pairs) {
      if (from !== n || seen.has(to)) continue;
      seen.add(to);
      queue.push(to);
    }
  return seen;
}
