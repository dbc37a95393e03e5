/** Turns the refused options of a broker or client into a usage error that names the flags and says in words what they take. */
import { OptionsError } from '@tallystick/base';
import { CliError } from './cli-error.ts';

const NAME = 'must be 1 to 127 letters, digits, _, -, % or |';
/** The flag of each option, and what its text must look like in place of the pattern in the option's row. */
const flags: ReadonlyMap<string, readonly [flag: string, words?: string]> = new Map([
  ['group', ['--group', NAME]],
  ['brokerName', ['--broker-name', NAME]],
  ['clusterName', ['--cluster-name', NAME]],
  ['advertise', ['--advertise', 'must be an address as ip:port']],
  ['nameServers', ['--name-server', 'must be addresses as host:port with commas between']],
  ['transientStorePoolEnable', ['--transient-store-pool']],
  ['flush', ['--flush']],
  ['checkAfterMs', ['--check-after']],
  ['checkIntervalMs', ['--check-interval']],
  ['checkMax', ['--check-max']],
  ['delayLevelsMs', ['--delay-levels']],
  ['segmentBytes', ['--segment-bytes']],
]);

/** The usage error for `error`, undefined when it is none about options; `next` says what to do now. */
export function usageOf(error: unknown, next: string): CliError | undefined {
  if (!(error instanceof OptionsError)) return undefined;
  const sentences = error.faults.map(inWords);
  return new CliError(sentences.join('; '), next, 'usage', error);
}

function inWords(fault: string): string {
  const [name, rest] = split(fault, ' ');
  const [flag = name, words] = flags.get(name) ?? [];
  if (name === 'transientStorePoolEnable' && rest.startsWith('needs'))
    return `${flag} needs --flush async: it acknowledges what lies in RAM, and --flush sync promises the disk`;
  const given = /^must match .*, not (".*")$/s.exec(rest)?.[1];
  return words === undefined || given === undefined ? `${flag} ${rest}` : `${flag} ${words}, not ${given}`;
}

function split(text: string, at: string): [string, string] {
  const index = text.indexOf(at);
  return index < 0 ? [text, ''] : [text.slice(0, index), text.slice(index + 1)];
}
