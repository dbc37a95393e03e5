// Runs the TypeScript sources of a checkout in this very process: resolves workspace packages to `src` and strips types with
// esbuild as modules load. A published package has no sources beside it and never loads this file.
import { register } from 'node:module';

register('./source-hooks.js', import.meta.url);
