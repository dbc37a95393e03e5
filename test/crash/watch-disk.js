// Preloaded into a broker process (`node --import`). Notes in a small file which disk calls are in flight, so that whoever finds
// the process dead can tell what was interrupted; and, told so by CRASH_AT=class:n, kills the process with SIGKILL while its n-th
// call of that class since the signal SIGUSR2 (`any`: since its start) is in the hands of the kernel. Touches nothing else. Plain
// JavaScript: it must run before any loader.
import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';

const CLASSES = ['append', 'sync', 'through', 'roll', 'snapshot', 'checkpoint', 'other'];
const statusPath = process.env.CRASH_STATUS;
const [killClass, killCount] = (process.env.CRASH_AT ?? ':').split(':');
const defect = process.env.CRASH_DEFECT;

if (statusPath !== undefined) watch(fs.openSync(statusPath, 'w'));

function watch(statusFd) {
  const inFlight = new Uint8Array(CLASSES.length + 1);
  const paths = new Map();
  /** Opened once more, for writes that carry their own sync. */
  const through = new Set();
  const writeSync = fs.writeSync;
  let left = Number(killCount || 0);
  // Given when the clients are back and wait for answers.
  let isArmed = false;
  process.on('SIGUSR2', () => (isArmed = true));
  const note = () => writeSync(statusFd, inFlight, 0, inFlight.length, 0);
  note();

  const begin = (kind) => {
    inFlight[CLASSES.indexOf(kind)]++;
    inFlight[CLASSES.length] = 1;
    note();
  };
  const end = (kind) => {
    inFlight[CLASSES.indexOf(kind)]--;
    note();
  };

  /** Puts a noting wrapper around a callback function of fs. `classify` gets the arguments. */
  const wrap = (name, classify, after) => {
    const original = fs[name];
    fs[name] = function (...args) {
      const kind = classify(args);
      const done = args.pop();
      begin(kind);
      original.call(fs, ...args, (...results) => {
        end(kind);
        after?.(args, results);
        done(...results);
      });
      if ((killClass === 'any' || (kind === killClass && isArmed)) && --left === 0) process.kill(process.pid, 'SIGKILL');
    };
  };

  const ofFd = (kind) => (args) => classOf(paths.get(args[0]) ?? '', kind === 'write' && through.has(args[0]) ? 'through' : kind);
  const ofPath = (kind) => (args) => classOf(String(args[1] ?? args[0]), kind);
  wrap(
    'open',
    (args) => classOf(String(args[0]), 'open'),
    (args, [error, fd]) => {
      if (error) return;
      const again = /^\/proc\/self\/fd\/(\d+)$/.exec(String(args[0]));
      paths.set(fd, again === null ? String(args[0]) : (paths.get(Number(again[1])) ?? ''));
      if (again === null) through.delete(fd);
      else through.add(fd);
    },
  );
  wrap('writev', ofFd('write'));
  wrap('write', ofFd('write'));
  wrap('fdatasync', ofFd('sync'));
  wrap('fsync', ofFd('sync'));
  wrap('ftruncate', ofFd('truncate'));
  // An open file follows its name: segments are opened under a temporary one.
  wrap('rename', ofPath('rename'), ([from, to], [error]) => {
    if (!error) for (const [fd, path] of paths) if (path === String(from)) paths.set(fd, String(to));
  });
  if (defect !== undefined) plant(defect, paths);
  syncBuiltinESMExports();
}

function classOf(path, call) {
  if (/snap/.test(path)) return 'snapshot';
  if (/checkpoint/.test(path)) return 'checkpoint';
  if (/[/\\]log[/\\]\d{20}$/.test(path) && call !== 'rename' && call !== 'open')
    return call === 'sync' || call === 'through' ? call : call === 'write' ? 'append' : 'roll';
  return /[/\\](log|index)([/\\]|$)/.test(path) ? 'roll' : 'other';
}

/** Builds a defect in, to see the checker catch it. */
function plant(name, paths) {
  const isLog = (fd) => /[/\\]log[/\\]\d{20}$/.test(paths.get(fd) ?? '');
  const { writev } = fs;
  if (name === 'ack-before-write') {
    // Reports a write of the log at once and does it 20 ms later.
    fs.writev = function (fd, chunks, position, done) {
      if (!isLog(fd)) return writev.call(fs, fd, chunks, position, done);
      const copy = chunks.map((chunk) => Buffer.from(chunk));
      const bytes = copy.reduce((sum, chunk) => sum + chunk.length, 0);
      setTimeout(() => writev.call(fs, fd, copy, position, () => {}), 20);
      setImmediate(() => done(null, bytes));
    };
  } else if (name === 'drop-a-write') {
    // Leaves out one write of the log in 7.
    let count = 0;
    fs.writev = function (fd, chunks, position, done) {
      if (!isLog(fd) || ++count % 7 !== 0) return writev.call(fs, fd, chunks, position, done);
      setImmediate(() =>
        done(
          null,
          chunks.reduce((sum, chunk) => sum + chunk.length, 0),
        ),
      );
    };
  } else {
    throw new Error(`no defect ${name}`);
  }
}
