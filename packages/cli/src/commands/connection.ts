/** What all commands that talk to a broker share: its address, a client, and clear words when it is not there. */
import type { Client } from '@tallystick/client';
import type { Command } from 'commander';
import { address } from '../arguments.ts';
import { CliError } from '../cli-error.ts';
import { usageOf } from '../option-faults.ts';

export interface BrokerFlag {
  readonly broker: string;
}

export function withBroker(command: Command): Command {
  return command
    .option('--broker <host:port>', 'name server or broker', address, '127.0.0.1:9876')
    .option('--json', 'prints JSON lines');
}

/** Runs `work` with a client and closes it; failures of the connection become a CliError. */
export async function usingBroker(flags: BrokerFlag, work: (client: Client) => Promise<void>): Promise<void> {
  const { Client } = await import('@tallystick/client');
  const client = new Client({ address: flags.broker, startTimeoutMs: 5_000 });
  try {
    await work(client);
  } catch (error) {
    throw brokerError(error, flags.broker);
  } finally {
    await client.close();
  }
}

function brokerError(error: unknown, at: string): unknown {
  if (error instanceof CliError || !(error instanceof Error)) return error;
  const usage = usageOf(error, 'correct the flag');
  if (usage !== undefined) return usage;
  const { outcome } = error as { outcome?: unknown };
  const message = error.message.includes(at) ? error.message : `${at}: ${error.message}`;
  if (outcome === 'unavailable')
    return new CliError(message, 'start one with `tallystick broker` or name another with --broker', 'unavailable', error);
  if (outcome === 'unknown')
    return new CliError(message, 'it may or may not have happened; look before you repeat it', 'unavailable', error);
  if (typeof outcome === 'string') return new CliError(message, 'correct the request', 'failed', error);
  return error;
}
