/** What a load process is told, as its one argument, and what it answers, as its last line. */

export interface Job {
  /**
   * produce: callbacks or plain promises; promise: a promise for each message, ours; pipeline: explicit pipelines; transaction; consume: a backlog, with
   * acknowledgements; latency: 1,000 messages a second from send to handler; bare: our messages beside bare writes and syncs.
   */
  readonly mode: 'produce' | 'promise' | 'pipeline' | 'transaction' | 'consume' | 'latency' | 'bare';
  readonly bytes: number;
  readonly window: number;
  readonly warmUpMs: number;
  readonly windowMs: number;
  /** Ours only: the options that the row's name asks for. */
  readonly header?: 'json' | 'binary' | undefined;
  readonly single?: boolean | undefined;
  /** Messages per second of `windowMs` in a consumer's backlog. */
  readonly backlogPerSecond?: number | undefined;
}

export interface Figure {
  readonly perSecond?: number | undefined;
  readonly p50Ms?: number | undefined;
  readonly p99Ms?: number | undefined;
  /** Everything that was done, warm-up included. */
  readonly completed?: number | undefined;
  readonly clientCpuUs?: number | undefined;
  /** Beside ours in `bare`: writes and syncs per second without us. */
  readonly barePerSecond?: number | undefined;
}

export function jobOf(argv: readonly string[]): {
  readonly address: string;
  readonly host: string;
  readonly port: number;
  readonly job: Job;
} {
  const [address, text] = argv.slice(2) as [string, string];
  const [host, port] = address.split(':') as [string, string];
  return { address, host, port: Number(port), job: JSON.parse(text) as Job };
}

/** Writes the last line, then ends the process: sockets that are still open have nothing more to say. */
export function answer(figure: Figure): void {
  process.stdout.write(`${JSON.stringify(figure)}\n`, () => process.exit(0));
}
