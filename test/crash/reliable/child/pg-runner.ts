/** As much of a PostgreSQL connection as the banks need: pg's clients are one. */
export interface PgRunner {
  query(
    text: string,
    values?: readonly unknown[],
  ): Promise<{ readonly rows: readonly Readonly<Record<string, unknown>>[]; readonly rowCount: number | null }>;
}
