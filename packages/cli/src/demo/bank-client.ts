/** A bank's client: every connection goes through the bank's proxy, whatever address the broker's route names. */
import { tcpDialer } from '@tallystick/base/node';
import { Client } from '@tallystick/client';

/** Waits are short, since the demo cuts connections on purpose and people watch. */
export function clientThrough(port: number): Client {
  const dialer = tcpDialer();
  const proxied = { dial: (_address: string, done: Parameters<typeof dialer.dial>[1]) => dialer.dial(`127.0.0.1:${port}`, done) };
  return new Client({
    address: `127.0.0.1:${port}`,
    dialer: proxied,
    reconnectMaxMs: 400,
    heartbeatIntervalMs: 1_000,
    routeIntervalMs: 500,
  });
}
