import { afterAll, describe, test } from 'vitest';
import { contractOf } from './contract.ts';
import { LIBRARIES } from './libraries/index.ts';
import { capabilitiesOf, leave } from './world.ts';

for (const library of LIBRARIES) {
  describe(library.name, () => {
    afterAll(() => leave(library));
    for (const { name, run } of contractOf(library, capabilitiesOf(library))) test(name, run);
  });
}
