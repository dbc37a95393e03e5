import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { run, start } from './processes.ts';

describe('wrong arguments', () => {
  it.each([
    [['demo', 'bank', '--transfers', '49'], 'must be a whole number from 50'],
    [['demo', 'bank', '--seed', 'x'], 'a whole number'],
    [['demo', 'bank', '--path', 'carrier-pigeon'], 'Allowed choices are both, half, outbox'],
    [['demo', 'bank', '--defect', 'none'], 'Allowed choices are no-inbox'],
    [['demo', 'bank', '--defect', 'no-fence', '--path', 'outbox'], 'needs transfers by half'],
    [['broker', '--port', '70000'], 'a whole number from 0 to 65535'],
    [['broker', '--port', '0', '--transient-store-pool'], '--transient-store-pool needs --flush async'],
    [['broker', '--port', '0', '--advertise', 'foo'], '--advertise must be an address as ip:port, not "foo"'],
    [['broker', '--port', '0', '--broker-name', 'a b'], '--broker-name must be 1 to 127 letters'],
    [['consume', 'orders', '--group', 'g g'], '--group must be 1 to 127 letters'],
    [['broker', '--flush', 'perhaps'], 'Allowed choices are sync, async'],
    [['broker', '--name-server', 'here:9876,there'], 'an address as host:port'],
    [['broker', '--delay-levels', '100,soon'], 'a whole number'],
    [['send'], "missing required argument 'topic'"],
    [['send', 'orders', 'x', '--header', 'novalue'], 'a header as name=value'],
    [['consume', 'orders', '--broker', 'nowhere'], 'an address as host:port'],
    [['unheard-of'], 'unknown command'],
  ])('%j are refused with 2 and a sentence', async (args, sentence) => {
    const { code, err, out } = await run(args);
    expect({ code, out }).toEqual({ code: 2, out: '' });
    expect(err).toContain(sentence);
    expect(err).not.toContain('the store in');
  });

  it('leave no temporary store behind when the broker refuses to start', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'refused-'));
    const { code } = await start(['broker', '--port', '0', '--advertise', 'foo'], undefined, { TMPDIR: folder }).ended;
    expect(code).toBe(2);
    expect(readdirSync(folder)).toEqual([]);
    rmSync(folder, { recursive: true });
  });

  it("never touch a folder that is not a demo's", async () => {
    const folder = mkdtempSync(join(tmpdir(), 'not-a-demo-'));
    writeFileSync(join(folder, 'thesis.txt'), 'mine');
    const { code, err } = await run(['demo', 'bank', '--data', folder, '--json']);
    expect(code).toBe(2);
    expect(err).toContain('thesis.txt');
    rmSync(folder, { recursive: true });
  });

  it.each(['a file', 'below a file', '/proc/demo'])('say in a sentence why a demo cannot lie there: %s', async (where) => {
    const folder = mkdtempSync(join(tmpdir(), 'no-demo-'));
    const file = join(folder, 'file');
    writeFileSync(file, '');
    const data = where === 'a file' ? file : where === 'below a file' ? join(file, 'below') : '/proc/tallystick-demo/data';
    const { code, err } = await run(['demo', 'bank', '--data', data, '--json']);
    expect(code).toBe(2);
    expect(err).toContain(`${data} cannot be the demo's folder`);
    expect(err).not.toContain(' at ');
    rmSync(folder, { recursive: true });
  });

  it('show the exit codes with --help and end with 0', async () => {
    const { code, out } = await run(['--help']);
    expect(code).toBe(0);
    for (const word of ['demo', 'broker', 'send', 'consume', 'topic', 'halves', '130']) expect(out).toContain(word);
  });
});
