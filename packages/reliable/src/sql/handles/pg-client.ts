/** What of pg's client is used. */
export interface PgNative {
  query(text: string, values: unknown[]): Promise<PgResult>;
  query(kept: { readonly name: string; readonly text: string; readonly values: unknown[] }): Promise<PgResult>;
  getTransactionStatus?(): unknown;
  readonly _txStatus?: unknown;
  readonly connection?: unknown;
  /** The number of the server's process, as it was told at the beginning. */
  readonly processID?: unknown;
  release?(broken?: unknown): void;
}

export interface PgResult {
  readonly rows?: readonly Readonly<Record<string, unknown>>[];
  readonly rowCount?: number | null;
}
