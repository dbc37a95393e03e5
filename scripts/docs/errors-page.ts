/** `docs/reference/errors.md`: every error a caller can meet, from the error tables. */

export interface ErrorSection {
  title: string;
  note: string;
  rows: Readonly<Record<string, { sentence: string; retry: string; outcome?: string }>>;
}

export interface FailureRow {
  step: string;
  failure: string;
  code: string;
  reaches: string;
  when: string;
  interceptors: string;
}

/** Where each failure of a send goes, as a section. */
function sendFailures(rows: readonly FailureRow[]): string {
  const head = '| step of the send | what fails | code | reaches | when | interceptors hear |\n|---|---|---|---|---|---|';
  const lines = rows.map(
    ({ step, failure, code, reaches, when, interceptors }) =>
      `| ${step} | ${failure} | ${shownCode(code)} | ${reaches} | ${when} | ${interceptors === 'nothing' ? '–' : `\`${interceptors}\``} |`,
  );
  const note =
    '*thrown* leaves the call; *callback* is told once, and is future and promise too; *report* is a line for the log (`onReport`) and changes nothing. *At once* is before the call returns; when a send has had to wait, its later steps come later, of course. Interceptors hear of the end before the callback does.';
  return ['## Where the failure of a send goes', note, [head, ...lines].join('\n')].join('\n\n');
}

function shownCode(code: string): string {
  if (code === 'none') return '–';
  return code === 'answer' ? 'name of the [answer](protocol.md#answer-codes)' : `\`${code}\``;
}

export function errorsPage(sections: readonly ErrorSection[], failures: readonly FailureRow[]): string {
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
  return `${[head, note, ...parts, sendFailures(failures)].join('\n\n')}\n`;
}
