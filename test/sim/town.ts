/** Several brokers and clients in one simulated world, without a plan: for tests that are about more than one broker. */
import { BrokerCore } from '../../packages/broker/src/broker.ts';
import type { GivenBrokerOptions } from '../../packages/broker/src/options.ts';
import { ClientCore, type ClientCoreOptions } from '../../packages/client/src/client-core.ts';
import { Probe, type ProbeAnswer, type ProbeFields } from '../checkers/probe.ts';
import { SimDisk } from './disk.ts';
import { SimNetwork } from './network.ts';
import { World, type SimProcess } from './world.ts';

const SMALL = { segmentBytes: 262_144, groupBytes: 16_384, blockBytes: 65_536, tailBytes: 131_072, reserveBytes: 32_768 };

export interface TownBroker {
  readonly core: BrokerCore;
  readonly owner: SimProcess;
  readonly disk: SimDisk;
  readonly address: string;
  readonly alarms: string[];
}

export class Town {
  readonly world: World;
  readonly network: SimNetwork;

  constructor(seed = 1) {
    this.world = new World(seed);
    this.network = new SimNetwork(this.world);
  }

  /** Starts a broker that listens on `address`; throws when it is refused. */
  broker(address: string, options: GivenBrokerOptions = {}, disk = new SimDisk(this.world)): TownBroker {
    const owner = this.world.process(`broker ${address}`);
    const alarms: string[] = [];
    const core = new BrokerCore(
      { disk: disk.mount(owner), dialer: this.network.dialer(owner), ...owner.ports },
      { advertise: address, ...SMALL, ...options },
      { alarm: (sentence) => void alarms.push(sentence) },
    );
    this.network.listen(address, owner, (wire) => core.accept(wire));
    this.#wait((done) => core.start((error) => done(error)));
    return { core, owner, disk, address, alarms };
  }

  stop({ core, owner }: TownBroker): void {
    this.#wait((done) => core.stop(done));
    owner.kill();
  }

  client(address: string, options: Partial<ClientCoreOptions> = {}): ClientCore {
    const owner = this.world.process('client');
    return new ClientCore({ ...owner.ports, dialer: this.network.dialer(owner) }, { address, ...options });
  }

  /** Asks one broker once, with a connection of its own. */
  ask(address: string, code: number, fields: ProbeFields, body: Uint8Array = new Uint8Array(0)): ProbeAnswer {
    const owner = this.world.process('asker');
    let answer: { readonly value: ProbeAnswer | undefined } | undefined;
    const probe = new Probe(this.network.dialer(owner), owner.ports.timers, address, 5000);
    probe.call(code, fields, body, (value) => (answer = { value }));
    this.until(() => answer !== undefined);
    owner.kill();
    if (answer!.value === undefined) throw new Error(`${address} does not answer ${code}`);
    return answer!.value;
  }

  until(done: () => boolean, limitMs = 60_000): void {
    if (!this.world.runUntil(done, limitMs)) throw new Error(`still waiting after ${limitMs} simulated ms`);
  }

  run(ms: number): void {
    this.world.runFor(ms);
  }

  /** Waits for a call back; throws its error. */
  #wait(begin: (done: (error: Error | undefined) => void) => void): void {
    let result: { readonly error: Error | undefined } | undefined;
    begin((error) => (result = { error }));
    this.until(() => result !== undefined);
    if (result!.error !== undefined) throw result!.error;
  }
}
