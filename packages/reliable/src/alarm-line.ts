import type { InboxAlarm } from './inbox/inbox-alarm.ts';
import type { Alarm } from './relay/alarm.ts';

/** Who is asked to tell and has been given nobody to tell it to writes one line to the standard error: silence would be taken for health. */
export function tellOnStandardError(who: 'relay' | 'inbox', alarm: Alarm | InboxAlarm): void {
  console.warn(`tallystick ${who}: ${alarmLine(alarm)}`);
}

/** Nothing of what was never pushed in vain. */
function afterTries({ tries }: { readonly tries: number }): string {
  return tries === 0 ? '' : ` after ${tries} tries`;
}

/** An alarm as one line: its kind, whom it is about, and why. */
export function alarmLine(alarm: Alarm | InboxAlarm): string {
  switch (alarm.kind) {
    case 'dead':
    case 'stuck':
    case 'poison':
    case 'unroutable':
      return `${alarm.kind}: ${alarm.row.topic} ${alarm.row.id}, ${alarm.row.outcome}${afterTries(alarm.row)}: ${alarm.row.reason}`;
    case 'outage':
      return `outage: the broker shows no sign of life: ${alarm.reason}`;
    case 'fenced':
      return `fenced: another process has taken the shards from ${alarm.firstShard} on`;
    case 'database':
      return `database: ${alarm.error instanceof Error ? alarm.error.message : String(alarm.error)}`;
    case 'old':
      return `old: ${alarm.id}: ${alarm.warning}`;
    case 'unconfirmed':
    case 'hanging':
      return `${alarm.kind}: ${alarm.id}: ${alarm.reason}`;
    default:
      return alarm.kind;
  }
}
