import { migrate } from '../../src/index.ts';
import { databasePath, openRaw, type RawDatabase } from './backends.ts';

/** A SQLite database with the newest tables. */
export function migrated(path = databasePath()): { readonly raw: RawDatabase; readonly path: string } {
  const raw = openRaw(path);
  raw.exec('pragma journal_mode=wal');
  migrate(raw);
  return { raw, path };
}

/** The error of a call, whichever way it fails; {} when it does not. */
export async function failure(call: () => unknown): Promise<{ readonly code?: string; readonly message?: string }> {
  try {
    await call();
  } catch (error) {
    return error as { code?: string; message?: string };
  }
  return {};
}
