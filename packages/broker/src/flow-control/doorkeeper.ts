import type { Clock, Timer, Timers } from '@tallystick/base';
import type { Peer } from '@tallystick/remoting';
import { connectionOf } from '../connection.ts';
import type { Counters } from '../counters.ts';

/**
 * Connections: how many, how many from one address, and that each sends one whole request soon. Who connects and says nothing, or
 * says something without an end, costs memory and a descriptor and is nobody's client. Loopback is not counted by address, and
 * connections inside the process, which have none, owe nobody a first request. Each refusal and each end with a cause is counted.
 */
export class Doorkeeper {
  readonly #ports: { readonly clock: Clock; readonly timers: Timers };
  readonly #options: DoorOptions;
  readonly #counters: Counters;
  readonly #byAddress = new Map<string, number>();
  /** Connections without a request yet, oldest first, with the time they came. */
  readonly #newcomers = new Map<Peer, number>();
  #timer: Timer | undefined;
  #inside = 0;

  constructor(ports: { readonly clock: Clock; readonly timers: Timers }, options: DoorOptions, counters: Counters) {
    this.#ports = ports;
    this.#options = options;
    this.#counters = counters;
  }

  /** Whether one more from there may come in; a refusal is counted. */
  admits(remote: string): boolean {
    if (this.#inside >= this.#options.connectionsMax) {
      this.#counters.refusedConnections++;
      return false;
    }
    const address = addressOf(remote);
    if (address === undefined || (this.#byAddress.get(address) ?? 0) < this.#options.connectionsPerAddressMax) return true;
    this.#counters.refusedByAddress++;
    return false;
  }

  entered(peer: Peer): void {
    this.#inside++;
    const address = addressOf(peer.remote);
    if (address !== undefined) this.#byAddress.set(address, (this.#byAddress.get(address) ?? 0) + 1);
    if (!isNetwork(peer.remote)) return;
    this.#newcomers.set(peer, this.#ports.clock.monotonic());
    this.#timer ??= this.#ports.timers.after(LOOK_MS, () => this.#look());
  }

  left(peer: Peer, reason: string): void {
    this.#inside--;
    const address = addressOf(peer.remote);
    if (address !== undefined) {
      const left = this.#byAddress.get(address)! - 1;
      if (left > 0) this.#byAddress.set(address, left);
      else this.#byAddress.delete(address);
    }
    this.#newcomers.delete(peer);
    for (const [word, counter] of CAUSES) if (reason.includes(word)) this.#counters[counter]++;
  }

  stop(): void {
    if (this.#timer !== undefined) this.#ports.timers.cancel(this.#timer);
    this.#timer = undefined;
    this.#newcomers.clear();
  }

  #look(): void {
    this.#timer = undefined;
    const { firstFrameMs, firstFrameBytesMax, firstFramesBytesMax } = this.#options;
    const nowMs = this.#ports.clock.monotonic();
    let bytes = 0;
    for (const [peer, sinceMs] of this.#newcomers) {
      if (connectionOf(peer).requests > 0) this.#newcomers.delete(peer);
      else if (nowMs - sinceMs >= firstFrameMs) this.#dismiss(peer, `no whole request in ${firstFrameMs} ms (firstFrameMs)`);
      else if (peer.heldBytes > firstFrameBytesMax)
        this.#dismiss(peer, `a first request of more than ${firstFrameBytesMax} bytes (firstFrameBytesMax)`);
      else bytes += peer.heldBytes;
    }
    for (const peer of [...this.#newcomers.keys()].reverse()) {
      if (bytes <= firstFramesBytesMax) break;
      bytes -= peer.heldBytes;
      this.#dismiss(peer, `unfinished first requests take more than ${firstFramesBytesMax} bytes (firstFramesBytesMax)`);
    }
    if (this.#newcomers.size > 0) this.#timer = this.#ports.timers.after(LOOK_MS, () => this.#look());
  }

  #dismiss(peer: Peer, reason: string): void {
    this.#newcomers.delete(peer);
    peer.close(false, reason);
  }
}

export interface DoorOptions {
  readonly connectionsMax: number;
  readonly connectionsPerAddressMax: number;
  readonly firstFrameMs: number;
  readonly firstFrameBytesMax: number;
  readonly firstFramesBytesMax: number;
}

/** The option that a reason of closing names, and the counter of that cause. */
const CAUSES = [
  ['firstFrameMs', 'closedSilent'],
  ['firstFrameBytesMax', 'closedLongFirst'],
  ['firstFramesBytesMax', 'closedLongFirst'],
  ['idleMs', 'closedIdle'],
  ['outputHardBytes', 'closedOutput'],
  ['outputStallMs', 'closedStalled'],
  ['clientBytesMax', 'closedMemory'],
] as const satisfies readonly (readonly [string, keyof Counters])[];

/** Between two looks a newcomer can send what its link carries in so long: 12 MB at 1 Gbit/s. */
const LOOK_MS = 100;

/** Whether it came by a network: `host:port` with a number for an address. Others are inside this process. */
function isNetwork(remote: string): boolean {
  return /^(\[[0-9a-fA-F:.%]+\]|\d+\.\d+\.\d+\.\d+):\d+$/.test(remote);
}

/** The address that counts against `connectionsPerAddressMax`; undefined when none does. */
function addressOf(remote: string): string | undefined {
  if (!isNetwork(remote) || remote.startsWith('127.') || remote.startsWith('[::1]')) return undefined;
  return remote.slice(0, remote.lastIndexOf(':'));
}
