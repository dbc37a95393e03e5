import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { DemoFolder } from '../../src/demo/folder.ts';

let parent: string;
beforeEach(() => {
  parent = mkdtempSync(join(tmpdir(), 'folder-'));
});
afterEach(() => rmSync(parent, { recursive: true }));

describe('the folder of a run', () => {
  it('is made when it does not exist, with its parents', () => {
    const path = join(parent, 'a', 'b');
    new DemoFolder(path).take({ seed: 1 });
    expect(existsSync(join(path, 'tallystick-demo.json'))).toBe(true);
  });

  it('is taken again after an earlier run, whose files go', () => {
    const first = new DemoFolder(parent);
    first.take({ seed: 1 });
    writeFileSync(first.bankA, 'old');
    mkdirSync(first.broker);
    first.leave();
    new DemoFolder(parent).take({ seed: 2 });
    expect(existsSync(first.bankA)).toBe(false);
    expect(existsSync(first.broker)).toBe(false);
  });

  it('is refused and left alone when it holds something else', () => {
    writeFileSync(join(parent, 'thesis.txt'), 'mine');
    expect(() => new DemoFolder(parent).take({})).toThrow("is not an earlier demo's folder: it holds thesis.txt");
    expect(readFileSync(join(parent, 'thesis.txt'), 'utf8')).toBe('mine');
  });

  it('is refused when a stranger put a file beside an earlier run', () => {
    const folder = new DemoFolder(parent);
    folder.take({});
    writeFileSync(folder.bankB, 'kept');
    writeFileSync(join(parent, 'notes.md'), 'mine');
    expect(() => new DemoFolder(parent).take({})).toThrow('notes.md');
    expect(existsSync(folder.bankB)).toBe(true);
  });

  it('lists processes as a whole at each change', () => {
    const folder = new DemoFolder(parent);
    folder.take({});
    folder.writeProcesses([{ name: 'broker', pid: 1 }]);
    folder.writeProcesses([
      { name: 'broker', pid: 2 },
      { name: 'bank-a', pid: 3 },
    ]);
    expect(JSON.parse(readFileSync(join(parent, 'processes.json'), 'utf8'))).toEqual([
      { name: 'broker', pid: 2 },
      { name: 'bank-a', pid: 3 },
    ]);
  });
});
