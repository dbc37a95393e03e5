/** What a broker says about itself (GET_BROKER_RUNTIME_INFO), asked on a connection of its own; the half messages without a verdict are among it. */
import { systemClock, systemTimers, systemTurn, tcpDialer } from '@tallystick/base/node';
import { Peer, RequestCode, ResponseCode } from '@tallystick/remoting';
import { CliError } from './cli-error.ts';

/** A half message that has no verdict yet. */
export interface HalfLeft {
  readonly id: string;
  readonly state: 'open' | 'parked';
  readonly group: string;
  readonly topic: string;
  readonly ageMs: number;
  readonly checks: number;
  /** Byte address of the half message in the broker's log. */
  readonly position: number;
}

export interface HalvesLeft {
  /** All there are; `rows` holds the first thousand. */
  readonly open: number;
  readonly parked: number;
  readonly rows: readonly HalfLeft[];
}

const timeoutMs = 3_000;

/** Throws a CliError (unavailable) when the broker does not answer. */
export async function readHalves(address: string): Promise<HalvesLeft> {
  const table = await readTable(address);
  const rows = JSON.parse(table['ts.halves'] ?? '[]') as HalfLeft[];
  return { open: Number(table['ts.halves.open'] ?? rows.length), parked: Number(table['ts.halves.parked'] ?? 0), rows };
}

async function readTable(address: string): Promise<Record<string, string>> {
  const text = await ask(address);
  const body = JSON.parse(text) as { table?: Record<string, string> };
  if (body.table === undefined)
    throw new CliError(`${address} is no broker of ours: its information has no table`, 'name another with --broker', 'failed');
  return body.table;
}

function ask(address: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const fail = (what: string) =>
      reject(
        new CliError(`${address}: ${what}`, 'start one with `tallystick broker` or name another with --broker', 'unavailable'),
      );
    tcpDialer({ timeoutMs }).dial(address, (error, wire) => {
      if (error !== undefined) return fail(error);
      const ports = { clock: systemClock, timers: systemTimers(), turn: systemTurn() };
      const peer = new Peer(wire, ports, {}, { onRequest: () => {}, onClose: () => {} });
      peer.request(RequestCode.GET_BROKER_RUNTIME_INFO, {}, undefined, timeoutMs, (failure, reply) => {
        if (failure !== undefined) fail(failure.message);
        else if (reply.code !== ResponseCode.SUCCESS) fail(`answered ${reply.code}: ${reply.remark() ?? ''}`);
        else resolve(reply.body().toString('utf8'));
        peer.close(true);
      });
    });
  });
}
