// Preloaded into the broker (`node --import`): a machine whose power was cut boots again under a new boot id, which recovery uses to
// tell a power cut from a killed process. The kernel under this test keeps running, so the id is taken from BOOT_ID instead.
import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';

const { readFileSync } = fs;
fs.readFileSync = (path, ...rest) =>
  path === '/proc/sys/kernel/random/boot_id' ? `${process.env.BOOT_ID}\n` : readFileSync(path, ...rest);
syncBuiltinESMExports();
