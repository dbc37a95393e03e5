import { randomBytes } from 'node:crypto';
import { open, mkdir, rename, rm, stat, type FileHandle } from 'node:fs/promises';
import { connect, createServer, type Server } from 'node:net';
import { dirname, join, resolve } from 'node:path';

/**
 * One store, one live owner. The owner listens on a socket in the data folder; who wants the store probes it by connecting. The kernel
 * drops the listener with its process, so after a SIGKILL the next start succeeds at once, and a stopped process still owns. On
 * Linux a second, nameless-in-the-file-system (abstract) socket makes taking the folder atomic between processes that start together.
 */
export class StoreOwner {
  readonly #folder: FileHandle;
  readonly #servers: readonly Server[];

  private constructor(folder: FileHandle, servers: readonly Server[]) {
    this.#folder = folder;
    this.#servers = servers;
  }

  /** Makes the folder if it is not there and takes it. Rejects with a {@link StoreOwnedError} while another process has it. */
  static async take(dataDir: string): Promise<StoreOwner> {
    const path = resolve(dataDir);
    await makeDurably(path);
    const folder = await open(path, 'r');
    const servers: Server[] = [];
    try {
      if (process.platform === 'linux') servers.push(await listen(await abstractName(path), path));
      servers.push(await takeSocket(folder, path));
      return new StoreOwner(folder, servers);
    } catch (error) {
      for (const server of servers) await close(server);
      await folder.close();
      throw error;
    }
  }

  /** Lets others have the folder. */
  async release(): Promise<void> {
    for (const server of this.#servers) await close(server);
    await this.#folder.close();
  }
}

/** Another process (or another broker in this one) has the store open. */
export class StoreOwnedError extends Error {
  constructor(path: string) {
    super(`the store in ${path} is in use by another broker; stop that one, or choose another data folder`);
    this.name = 'StoreOwnedError';
  }
}

const SOCKET = 'owner.sock';
/** Longest path of a unix socket, on Linux; elsewhere it is shorter by a few bytes. */
const SOCKET_PATH_BYTES_MAX = 103;

/** Listens on the folder's socket; one that nobody listens on is a dead owner's and is taken away first. */
async function takeSocket(folder: FileHandle, path: string): Promise<Server> {
  const socket = socketPath(folder, path, SOCKET);
  if (await isAnswered(socket)) throw new StoreOwnedError(path);
  // Renamed, not removed: should a new owner have come between probe and removal, he is found alive under the new name.
  const aside = `${SOCKET}.${randomBytes(4).toString('hex')}`;
  const wasThere = await rename(join(path, SOCKET), join(path, aside)).then(
    () => true,
    () => false,
  );
  if (wasThere && (await isAnswered(socketPath(folder, path, aside)))) {
    await rename(join(path, aside), join(path, SOCKET));
    throw new StoreOwnedError(path);
  }
  if (wasThere) await rm(join(path, aside), { force: true });
  return listen(socket, path);
}

/** Where the kernel takes the path of a socket; a folder's own path may be too long for that, its descriptor's never is. */
function socketPath(folder: FileHandle, path: string, name: string): string {
  const plain = join(path, name);
  if (Buffer.byteLength(plain) <= SOCKET_PATH_BYTES_MAX) return plain;
  if (process.platform === 'linux') return `/proc/self/fd/${folder.fd}/${name}`;
  throw new Error(`the path ${plain} is too long for a socket (${SOCKET_PATH_BYTES_MAX} bytes); choose a shorter data folder`);
}

/** One name per folder, whatever path leads to it. */
async function abstractName(path: string): Promise<string> {
  const { dev, ino } = await stat(path);
  return `\0tallystick-store-${dev}-${ino}`;
}

function listen(address: string, path: string): Promise<Server> {
  return new Promise((resolve, reject) => {
    const server = createServer((socket) => socket.destroy());
    server.unref();
    server.once('error', (error: NodeJS.ErrnoException) =>
      reject(error.code === 'EADDRINUSE' ? new StoreOwnedError(path) : error),
    );
    server.listen({ path: address }, () => resolve(server));
  });
}

function isAnswered(address: string): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const socket = connect({ path: address });
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', (error: NodeJS.ErrnoException) => {
      // EAGAIN: the owner lives but is too busy, or stopped, to take the connection.
      if (error.code === 'EAGAIN') resolve(true);
      else if (error.code === 'ENOENT' || error.code === 'ECONNREFUSED' || error.code === 'ENOTSOCK') resolve(false);
      else reject(error);
    });
  });
}

function close(server: Server): Promise<void> {
  return new Promise((resolve) => server.close(() => resolve()));
}

/** A folder is only there for good when its parent has been synced. */
async function makeDurably(path: string): Promise<void> {
  const made = await makePath(path);
  if (made === undefined) return;
  for (let at = path; at !== dirname(made); at = dirname(at)) {
    const parent = await open(dirname(at), 'r');
    await parent.sync();
    await parent.close();
  }
}

/**
 * Makes a folder and its parents; the first one that was missing. Not Node's `recursive`, which never returns where the parent is
 * there and refuses with ENOENT, as below `/proc`.
 */
async function makePath(path: string): Promise<string | undefined> {
  try {
    await mkdir(path);
    return path;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EEXIST' && (await stat(path)).isDirectory()) return undefined;
    const parent = dirname(path);
    if (code !== 'ENOENT' || parent === path) throw error;
    const made = await makePath(parent);
    await mkdir(path);
    return made ?? path;
  }
}
