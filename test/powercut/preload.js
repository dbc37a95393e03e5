// Preloaded into the broker (`node --import`). A machine whose power was cut boots again under a new boot id, by which recovery tells a
// power cut from a killed process; the kernel under this test keeps running, so the id is taken from BOOT_ID. With ACK_BEFORE_SYNC set
// it builds in the defect that the cut must expose: an fdatasync of a log segment reports success at once and does nothing.
import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';

const { readFileSync } = fs;
fs.readFileSync = (path, ...rest) =>
  path === '/proc/sys/kernel/random/boot_id' ? `${process.env.BOOT_ID}\n` : readFileSync(path, ...rest);
if (process.env.ACK_BEFORE_SYNC !== undefined) acknowledgeBeforeSync();
syncBuiltinESMExports();

function acknowledgeBeforeSync() {
  const { open, fdatasync } = fs;
  const segments = new Map();
  fs.open = (path, ...rest) => {
    const done = rest.pop();
    open(path, ...rest, (error, fd) => {
      segments.set(fd, /\/log\/\d{20}$/.test(path));
      done(error, fd);
    });
  };
  fs.fdatasync = (fd, done) => (segments.get(fd) ? setImmediate(() => done(null)) : fdatasync(fd, done));
}
