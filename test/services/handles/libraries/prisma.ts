/** Prisma's client is generated, without its engine and without a network, into the build folder; once per schema and version. */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { PrismaPg } from '@prisma/adapter-pg';
import type { Handle, PrismaRoot } from '@tallystick/reliable';
import type { LibraryUnderTest } from './library.ts';

interface PrismaClient extends PrismaRoot {
  $disconnect(): Promise<void>;
}

export const prisma: LibraryUnderTest = {
  name: 'Prisma',
  async open(url) {
    const { PrismaClient } = (await import(generated())) as { PrismaClient: new (options: object) => PrismaClient };
    const client = new PrismaClient({
      adapter: new PrismaPg({ connectionString: url, max: 4 }, { onPoolError: () => undefined }),
    });
    return {
      root: client,
      begin: (work) => client.$transaction((tx) => work(tx as Handle)) as never,
      nested: (tx, work) => (tx as unknown as PrismaRoot).$transaction((inner) => work(inner as Handle)) as never,
      run: (tx, text) => (tx as { $executeRawUnsafe(text: string): Promise<number> }).$executeRawUnsafe(text),
      close: () => client.$disconnect(),
    };
  },
};

const ROOT = new URL('../../../../', import.meta.url).pathname;

const SCHEMA = `generator client {
  provider = "prisma-client"
  output   = "./client"
}

datasource db {
  provider = "postgresql"
}

model Effect {
  id String @id

  @@map("effect")
}
`;

/** The path of the generated client. */
function generated(): string {
  const folder = join(ROOT, '.tmp', 'prisma-7.10.0');
  const client = join(folder, 'client', 'client.ts');
  if (existsSync(client)) return client;
  // Made beside it and moved, so that two tests at once do no harm.
  const making = `${folder}-${process.pid}`;
  mkdirSync(making, { recursive: true });
  writeFileSync(join(making, 'schema.prisma'), SCHEMA);
  const { status, stderr } = spawnSync(
    process.execPath,
    [join(ROOT, 'node_modules/prisma/build/index.js'), 'generate', '--schema', 'schema.prisma'],
    { cwd: making, encoding: 'utf8', env: { ...process.env, PRISMA_SCHEMA_ENGINE_BINARY: '/bin/true', CHECKPOINT_DISABLE: '1' } },
  );
  if (status !== 0) throw new Error(`prisma generate failed: ${stderr}`);
  try {
    renameSync(making, folder);
  } catch {
    rmSync(making, { recursive: true, force: true });
  }
  return client;
}
