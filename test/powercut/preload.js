// Preloaded into the broker (`node --import`). A machine whose power was cut boots again under a new boot id, by which recovery tells a
// power cut from a killed process; the kernel under this test keeps running, so the id is taken from BOOT_ID. With ACK_BEFORE_SYNC set
// it builds in the defect that the cut must expose: a sync reports success at once and does nothing, also that of a write that carries its own.
import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';

const { readFileSync } = fs;
fs.readFileSync = (path, ...rest) =>
  path === '/proc/sys/kernel/random/boot_id' ? `${process.env.BOOT_ID}\n` : readFileSync(path, ...rest);
if (process.env.ACK_BEFORE_SYNC !== undefined) {
  fs.fdatasync = (_fd, done) => setImmediate(() => done(null));
  fs.fsync = fs.fdatasync;
  const { open } = fs;
  fs.open = (path, flags, ...rest) => open(path, typeof flags === 'number' ? flags & ~fs.constants.O_DSYNC : flags, ...rest);
}
syncBuiltinESMExports();
