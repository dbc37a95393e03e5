/**
 * A port for the broker that stays its own over all restarts. It lies below the range from which systems choose ports for outgoing connections: while the
 * broker is down, a bank that dials it must not be given the very same port and so connect to itself.
 */
import { createServer } from 'node:net';

const lowest = 20_000;
const highest = 31_999;
const attemptsMax = 200;

export async function freePort(): Promise<number> {
  for (let i = 0; i < attemptsMax; i++) {
    const port = lowest + Math.floor(Math.random() * (highest - lowest + 1));
    if (await isFree(port)) return port;
  }
  throw new Error(`no free port between ${lowest} and ${highest} in ${attemptsMax} attempts`);
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = createServer();
    probe.once('error', () => resolve(false));
    probe.listen(port, '127.0.0.1', () => probe.close(() => resolve(true)));
  });
}
