import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { transformSync } from 'esbuild';
import { afterAll, afterEach, describe, expect, it } from 'vitest';
import { StoreOwnedError, StoreOwner } from '../../src/shell/store-owner.ts';

/** The owner's own source beside a program that takes a folder and says how it went: a process needs nothing else. */
const programs = mkdtempSync(join(tmpdir(), 'owner-program-'));
const source = readFileSync(new URL('../../src/shell/store-owner.ts', import.meta.url), 'utf8');
writeFileSync(join(programs, 'store-owner.mjs'), transformSync(source, { loader: 'ts', format: 'esm', target: 'es2022' }).code);
writeFileSync(
  join(programs, 'rival.mjs'),
  `import { StoreOwner } from './store-owner.mjs';
   StoreOwner.take(process.argv[2]).then(() => process.send('taken'), (error) => process.send(error.name));
   setInterval(() => {}, 1000);`,
);
afterAll(() => rmSync(programs, { recursive: true, force: true }));

const folders: string[] = [];
const children: ChildProcess[] = [];

function folder(): string {
  const path = mkdtempSync(join(tmpdir(), 'owner-'));
  folders.push(path);
  return path;
}

/** A process that takes the folder and says how it went. */
async function rival(path: string): Promise<{ child: ChildProcess; answer: string }> {
  const child = fork(join(programs, 'rival.mjs'), [path], { execArgv: [], stdio: ['ignore', 'ignore', 'inherit', 'ipc'] });
  children.push(child);
  const [answer] = (await once(child, 'message')) as [string];
  return { child, answer };
}

afterEach(async () => {
  for (const child of children.splice(0)) {
    if (child.exitCode !== null || child.signalCode !== null) continue;
    const gone = once(child, 'exit');
    child.kill('SIGKILL');
    await gone;
  }
  for (const path of folders.splice(0)) rmSync(path, { recursive: true, force: true });
});

describe('the owner of a store', () => {
  it('is refused a folder that this process has already', async () => {
    const path = folder();
    const owner = await StoreOwner.take(path);
    await expect(StoreOwner.take(path)).rejects.toThrow(StoreOwnedError);
    await owner.release();
    const next = await StoreOwner.take(path);
    await next.release();
  });

  it('makes the folder, with its parents', async () => {
    const owner = await StoreOwner.take(join(folder(), 'deep', 'er'));
    await owner.release();
  });

  it('is refused while another process lives, also a stopped one, and succeeds at once after that one was killed', async () => {
    const path = folder();
    const first = await rival(path);
    expect(first.answer).toBe('taken');
    await expect(StoreOwner.take(path)).rejects.toThrow('in use by another broker');
    first.child.kill('SIGSTOP');
    await expect(StoreOwner.take(path)).rejects.toThrow(StoreOwnedError);
    first.child.kill('SIGCONT');
    const gone = once(first.child, 'exit');
    first.child.kill('SIGKILL');
    await gone;
    const owner = await StoreOwner.take(path);
    expect((await rival(path)).answer).toBe('StoreOwnedError');
    await owner.release();
  });

  it('works in a folder whose path is too long for a socket', async () => {
    const path = join(folder(), 'a-long-name-'.repeat(9), 'and-another-long-name');
    const owner = await StoreOwner.take(path);
    expect((await rival(path)).answer).toBe('StoreOwnedError');
    await owner.release();
    expect((await rival(path)).answer).toBe('taken');
  });

  it("is only one of several that start together over a dead owner's socket", async () => {
    const path = folder();
    const dead = await rival(path);
    const gone = once(dead.child, 'exit');
    dead.child.kill('SIGKILL');
    await gone;
    const rivals = await Promise.all([rival(path), rival(path), rival(path)]);
    expect(rivals.map(({ answer }) => answer).sort()).toEqual(['StoreOwnedError', 'StoreOwnedError', 'taken']);
  });
});
