/**
 * What makes PostgreSQL lose a commit it has answered: settings that its administrator, a role, a database or the connection itself
 * may have changed, and tables that are not in its log. They are found by one question and named with what to do; nothing is changed.
 */
import { plain, run, type Steps } from './statement.ts';
import { TABLES } from './tables.ts';
import { asText } from './values.ts';

export interface ServerDurabilityReport {
  readonly settings: readonly ServerSetting[];
  /** Tables of this package that a crash empties. */
  readonly unloggedTables: readonly string[];
  readonly role: string;
  readonly database: string;
}

export interface ServerSetting {
  readonly name: string;
  readonly value: string;
  /** Where it was set, in the words of `pg_settings.source`. */
  readonly source: string;
}

export function* lookAtServer(): Steps<ServerDurabilityReport> {
  const { rows } = yield* run(plain(QUESTION, true));
  const settings: ServerSetting[] = [];
  const unloggedTables: string[] = [];
  let [role, database] = ['', ''];
  for (const row of rows) {
    const [name, value, source] = [asText(row['name']), asText(row['value']), asText(row['source'])];
    if (row['what'] === 'setting') settings.push({ name, value, source });
    else if (row['what'] === 'table') unloggedTables.push(name);
    else [role, database] = [name, value];
  }
  return { settings, unloggedTables, role, database };
}

const SETTINGS = ['fsync', 'full_page_writes', 'synchronous_commit'];

const QUESTION = `
select 'setting' as what, name, setting as value, source from pg_settings where name in (${quoted(SETTINGS)})
union all
select 'table', relname::text, '', '' from pg_class
  where oid in (${TABLES.map(({ name }) => `to_regclass('${name}')`).join(', ')}) and relpersistence = 'u'
union all
select 'who', session_user::text, current_database()::text, ''`;

/** Everything that is wrong, each with what to do; pure, from what was read. */
export function serverFaults(report: ServerDurabilityReport): string[] {
  const wrong = report.settings.filter(({ value }) => value === 'off');
  return [
    ...wrong.map(
      (setting) => `${setting.name} is off (${setting.source}), so ${LOST[setting.name]!}: ${remedy(setting, report)}`,
    ),
    ...report.unloggedTables.map(
      (name) => `the table ${name} is unlogged, so a crash empties it: alter table ${name} set logged`,
    ),
  ];
}

const LOST: Readonly<Record<string, string>> = {
  fsync: 'a power cut can destroy the whole database',
  full_page_writes: 'a power cut can leave pages half written',
  synchronous_commit: 'a crash loses the commits of the last moments',
};

/** How to undo it, by where it was set. */
function remedy({ name, source }: ServerSetting, { role, database }: ServerDurabilityReport): string {
  switch (source) {
    case 'database':
      return `alter database "${database}" reset ${name}, then connect anew`;
    case 'user':
      return `alter role "${role}" reset ${name}, then connect anew`;
    case 'database user':
      return `alter role "${role}" in database "${database}" reset ${name}, then connect anew`;
    case 'client':
      return `take it out of the options this program connects with`;
    case 'session':
      return `do not set it on this connection`;
    case 'command line':
      return `take it off the command line that starts PostgreSQL, and restart`;
    default:
      return `alter system set ${name} = on, then select pg_reload_conf()`;
  }
}

function quoted(names: readonly string[]): string {
  return names.map((name) => `'${name}'`).join(', ');
}
