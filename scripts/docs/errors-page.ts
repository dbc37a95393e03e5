/** `docs/reference/errors.md`: every error a caller can meet, from the error tables. */

export interface ErrorSection {
  title: string;
  note: string;
  rows: Readonly<Record<string, { sentence: string; retry: string; outcome?: string }>>;
}

export function errorsPage(sections: readonly ErrorSection[]): string {
  const parts = sections.map(({ title, note, rows }) => {
    const withOutcome = Object.values(rows).some(({ outcome }) => outcome !== undefined);
    const head = withOutcome
      ? '| code | outcome | retry | meaning |\n|---|---|---|---|'
      : '| code | retry | meaning |\n|---|---|---|';
    const lines = Object.entries(rows).map(([code, { sentence, retry, outcome }]) =>
      withOutcome ? `| \`${code}\` | ${outcome} | ${retry} | ${sentence} |` : `| \`${code}\` | ${retry} | ${sentence} |`,
    );
    return [`## ${title}`, note, [head, ...lines].join('\n')].join('\n\n');
  });
  const head = '<!-- Made from the error tables of the packages by scripts/docs.ts. Do not edit. -->\n\n# Errors';
  const note =
    '`retry` tells a loop whether the same call can succeed: `later` after a wait, `elsewhere` at another place at once, `never` without a change.';
  return `${[head, note, ...parts].join('\n\n')}\n`;
}
