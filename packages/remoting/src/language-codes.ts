import { NameIndex } from './name-index.ts';

/** The language a peer says it is written in: a name in JSON headers, its place in this list in binary ones (RocketMQ's LanguageCode). */
export const LANGUAGES = [
  'JAVA',
  'CPP',
  'DOTNET',
  'PYTHON',
  'DELPHI',
  'ERLANG',
  'RUBY',
  'OTHER',
  'HTTP',
  'GO',
  'PHP',
  'OMS',
  'RUST',
  'NODE_JS',
] as const;

/** What we say: RocketMQ 4.x knows no NODE_JS and shows an unknown language as null. */
export const OUR_LANGUAGE = LANGUAGES.indexOf('OTHER');

/** The protocol version we say: RocketMQ 5.3.3's ordinal. Java clients switch features on by it, so it must be a real 5.x one. */
export const OUR_VERSION = 479;

/** The name of a language byte; `UNKNOWN` for one that is not in the list. */
export function languageName(language: number): string {
  return LANGUAGES[language] ?? 'UNKNOWN';
}

/** Finds a language's number by its name in bytes. */
export const languageIndex = new NameIndex(LANGUAGES);
