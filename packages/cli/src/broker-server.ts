/** Starts the broker for `tallystick broker` and translates its refusals. */
import { Broker, type GivenBrokerOptions, type RecoveryReport } from '@tallystick/broker';
import { CliError } from './cli-error.ts';
import { startOnLossyDisk } from './demo/lossy-broker.ts';
import { usageOf } from './option-faults.ts';

export interface ServerOptions {
  readonly host: string;
  readonly port: number;
  readonly dataDir: string;
  readonly insecure: boolean;
  /** For the demo: the disk forgets at a kill what was not synced; while this says so, a sync is answered and has no effect. */
  readonly lossy: { readonly forgets: () => boolean } | undefined;
  readonly settings: GivenBrokerOptions;
}

export interface RunningBroker {
  readonly address: string;
  /** What was found at the start. */
  readonly recovery: RecoveryReport;
  /** Resolves with the reason when the store has failed. */
  readonly failed: Promise<string>;
  stop(): Promise<void>;
}

export async function startBroker(options: ServerOptions): Promise<RunningBroker> {
  let fail: (reason: string) => void = () => {};
  const failed = new Promise<string>((resolve) => (fail = resolve));
  try {
    if (options.lossy !== undefined) return { ...(await startOnLossyDisk(options, options.lossy.forgets, fail)), failed };
    const { host, port, dataDir, insecure, settings } = options;
    const broker = new Broker({
      ...settings,
      host,
      port,
      dataDir,
      insecure,
      onFailed: fail,
      onAlarm: (sentence) => console.error(sentence),
    });
    await broker.start();
    return { address: broker.address ?? `${host}:${port}`, recovery: broker.core.recovery, failed, stop: () => broker.stop() };
  } catch (error) {
    throw refusal(error, options);
  }
}

function refusal(error: unknown, { host, port, dataDir, insecure }: ServerOptions): CliError {
  const usage = usageOf(error, 'see `tallystick broker --help`');
  if (usage !== undefined) return usage;
  const text = error instanceof Error ? error.message : String(error);
  const { code } = error as { code?: unknown };
  if (code === 'EADDRINUSE')
    return new CliError(`port ${port} on ${host} is taken`, 'give another --port, or stop who listens there', 'failed', error);
  if (code === 'ENOTFOUND' || code === 'EAI_AGAIN')
    return new CliError(`--host ${host} cannot be looked up: ${text}`, 'give another --host', 'usage', error);
  if (code === 'EACCES' || code === 'EADDRNOTAVAIL')
    return new CliError(`cannot listen on ${host}:${port}: ${text}`, 'give another --host or --port', 'failed', error);
  if (!insecure && text.includes('insecure'))
    return new CliError(
      `${host} can be reached by others, and this broker asks nobody who he is`,
      'listen on 127.0.0.1, or add --insecure',
      'usage',
      error,
    );
  if ((error as { rule?: unknown }).rule === 'registration')
    return new CliError(
      text,
      'give it a --broker-name of its own (with a new --data folder), or stop the other',
      'failed',
      error,
    );
  return new CliError(
    `the store in ${dataDir} was not opened: ${text}`,
    'look at the reason, or give --data another folder',
    'failed',
    error,
  );
}
