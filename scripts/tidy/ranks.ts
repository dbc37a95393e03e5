/**
 * Who stands above whom. Imports point down only: a package may import packages of a lower rank; inside a package, a folder may
 * import folders of a lower rank. Folders of one rank may import each other in one direction only.
 */

/** Packages by folder, lowest first. */
export const packageRanks: readonly (readonly string[])[] = [['base'], ['remoting'], ['broker', 'client', 'reliable'], ['cli']];

/** Packages whose every file, save shells, is deterministic core code, and which have no third-party dependency at run time. */
export const corePackages: readonly string[] = ['base', 'remoting', 'broker', 'client'];

/** Proofs at the root that go past a package's front door, because they build defects into its parts or explain its statements: folder of the proof → what it opens. */
export const openedBy: readonly { proof: string; part: string }[] = [
  { proof: 'test/sim/', part: 'packages/broker/src/' },
  { proof: 'test/sim/', part: 'packages/client/src/' },
  { proof: 'test/services/', part: 'packages/reliable/src/' },
  { proof: 'test/services/', part: 'packages/cli/test/' },
  { proof: 'scripts/docs', part: 'packages/cli/src/' },
];

/**
 * First path parts under `src`, lowest first: folders, or files that stand for one. Files of the root that are not listed (option
 * and error tables, shared types) are tied by the cycle check only.
 */
export const folderRanks: Readonly<Record<string, readonly (readonly string[])[]>> = {
  broker: [
    ['store'],
    ['groups', 'topics'],
    ['sequences', 'registration'],
    ['transaction', 'delivery'],
    ['handlers', 'flow-control'],
    ['broker.ts'],
    ['shell'],
    ['index.ts'],
  ],
  client: [
    ['message'],
    ['route'],
    ['producer', 'consumer', 'admin', 'transaction'],
    ['client-core.ts'],
    ['shell'],
    ['testing', 'index.ts'],
  ],
  reliable: [
    ['sql'],
    ['telemetry', 'transports', 'relay', 'outbox', 'inbox', 'call', 'local-transaction'],
    ['monitor', 'guard'],
    ['alarms'],
    ['testing', 'index.ts'],
  ],
};
