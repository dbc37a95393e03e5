/**
 * Sees that a person hears of what only a person can mend: messages that are too old, given up, without a queue, without the consumer's confirmation,
 * and what relays, inboxes and outboxes report. Of the processes that run it one checks (a lease row); an alarm is told once when it is raised,
 * again after `silenceMs` while it lasts, and once when it is over, also over restarts and changes of hands. Nothing waits for it, and it never throws
 * into who feeds it. Leaves to others: mending (monitor, command line), and calling people (the receiver of the webhook).
 *
 * States: `new` → start() → `running` (checks every `everyMs`) → stop() → `stopped` (the office is given back).
 */
import {
  resolveOptions,
  type Clock,
  type GivenOptions,
  type Options,
  type Random,
  type Timer,
  type Timers,
} from '@tallystick/base';
import { systemClock, systemRandom, systemTimers } from '@tallystick/base/node';
import { monitorStatementsOf } from '../monitor/monitor-statements.ts';
import { withTime } from '../monitor/with-time.ts';
import { reach, type Reach } from '../monitor/reach.ts';
import { ALARM_OPTIONS } from '../options.ts';
import type { Dialect } from '../sql/dialect.ts';
import type { Database } from '../sql/handles.ts';
import type { Steps } from '../sql/statement.ts';
import { ALL_KINDS, leaveOffice, recall, remember, silence, takeOffice, unquiet, type Remembered } from './alarm-rows.ts';
import { decideAlarm, NOT_RAISED, type AlarmEvent, type AlarmMemory } from './decide-alarm.ts';
import { fedOf, REPORTED_KINDS, type FedAlarm } from './fed.ts';
import { measure } from './measure.ts';
import type { AlarmExample, AlarmNotice } from './notice.ts';
import { ALARM_KINDS, limitOf, WATCHED_KINDS, type AlarmRules, type WatchedKind } from './rules.ts';
import { Webhook, type WebhookSettings } from './webhook.ts';

export interface AlarmsSettings extends GivenOptions<typeof ALARM_OPTIONS> {
  readonly db: Database;
  /** Limits of one's own. */
  readonly rules?: AlarmRules | undefined;
  /** Consumers whose inboxes are watched; default: the one without a name. */
  readonly consumers?: readonly string[] | undefined;
  readonly webhook?: WebhookSettings | undefined;
  /** Every notice, whether or not there is a webhook. */
  readonly onAlarm?: ((notice: AlarmNotice) => void) | undefined;
  /** A notice that the webhook did not take; it is raised again by the next check. */
  readonly onUndelivered?: ((notice: AlarmNotice, reason: string) => void) | undefined;
  readonly clock?: Clock | undefined;
  readonly timers?: Timers | undefined;
  readonly random?: Random | undefined;
}

export function createAlarms(settings: AlarmsSettings): Alarms {
  return new Alarms(settings);
}

export class Alarms {
  readonly #settings: AlarmsSettings;
  readonly #options: Options<typeof ALARM_OPTIONS>;
  readonly #rules: AlarmRules;
  readonly #reach: Reach;
  readonly #clock: Clock;
  readonly #timers: Timers;
  readonly #owner: string;
  readonly #webhook: Webhook | undefined;
  /** What only this process knows of: fed alarms, and a database that does not answer. */
  readonly #own = new Map<string, AlarmMemory>();
  #failures = 0;
  #state: 'new' | 'running' | 'stopped' = 'new';
  #timer: Timer | undefined;
  #working: Promise<unknown> = Promise.resolve();

  constructor(settings: AlarmsSettings) {
    const {
      db,
      rules,
      consumers: _consumers,
      webhook,
      onAlarm: _onAlarm,
      onUndelivered: _un,
      clock,
      timers,
      random,
      ...given
    } = settings;
    this.#settings = settings;
    this.#options = resolveOptions('alarms', ALARM_OPTIONS, given);
    this.#rules = rules ?? {};
    this.#clock = clock ?? systemClock;
    this.#timers = timers ?? systemTimers({ unref: true });
    this.#reach = reach(db, { databaseAfterMs: this.#options.databaseAfterMs, timers: this.#timers });
    const chance = random ?? systemRandom();
    this.#owner = `alarms-${chance.u32().toString(16)}${chance.u32().toString(16)}`;
    const ports = { clock: this.#clock, timers: this.#timers, random: chance };
    if (webhook !== undefined) {
      assertUrl(webhook.url);
      this.#webhook = new Webhook(webhook, this.#options, ports, (notice, reason) => this.#undelivered(notice, reason));
    }
  }

  /** Checks at once and then on schedule. */
  start(): void {
    if (this.#state !== 'new') return;
    this.#state = 'running';
    this.#after(0);
  }

  /** Ends the schedule, waits for a check in hand, gives the office back, drops what was not told yet. */
  async stop(): Promise<void> {
    this.#state = 'stopped';
    if (this.#timer !== undefined) this.#timers.cancel(this.#timer);
    await this.#working;
    await this.#webhook?.stop();
    await this.#do((dialect) => leaveOffice(dialect, this.#options.channel, this.#owner)).catch(() => undefined);
  }

  /** Resolves when every notice so far has been delivered or given up. */
  async idle(): Promise<void> {
    await this.#working;
    await this.#webhook?.idle();
  }

  /** Looks now, if this process holds the office or can take it, and tells what is to be told; returns that. Never throws. */
  check(): Promise<readonly AlarmNotice[]> {
    const check = this.#working.then(() => this.#check());
    this.#working = check;
    return check;
  }

  /**
   * Nobody is told of this kind before `untilMs` (ms since 1970); without a kind, of none. Written down for all processes. Rejects with a
   * TypeError when no alarm is of this kind: see {@link TOLD_KINDS}.
   */
  async silence(untilMs: number, kind: string = ALL_KINDS): Promise<void> {
    if (kind !== ALL_KINDS && !TOLD_KINDS.includes(kind))
      throw new TypeError(`no alarm is of kind ${JSON.stringify(kind)}; there are ${TOLD_KINDS.join(', ')}`);
    await this.#do((dialect) => silence(dialect, this.#options.channel, kind, untilMs));
  }

  /**
   * Takes an alarm of a relay, an inbox or an outbox: hand it in as their `onAlarm`. What has an end (outage, database) is raised and cleared, everything else is told
   * at most once per kind and `silenceMs`.
   */
  readonly feed = (alarm: FedAlarm): void => {
    const fed = fedOf(alarm);
    if (fed.lookSoon && this.#state === 'running') this.#after(0);
    if (fed.kind === undefined) return;
    const { kind, over, sentence, examples, lasts } = fed;
    this.#working = this.#working.then(() => this.#tellOwn(kind, !over, sentence, examples, lasts)).catch(() => undefined);
  };

  #after(ms: number): void {
    if (this.#timer !== undefined) this.#timers.cancel(this.#timer);
    this.#timer = this.#timers.after(ms, () => {
      void this.check().then(() => {
        if (this.#state === 'running') this.#after(this.#options.everyMs);
      });
    });
  }

  async #check(): Promise<readonly AlarmNotice[]> {
    try {
      const notices = await this.#do((dialect) => this.#checkSteps(dialect));
      for (const notice of notices) this.#tell(notice);
      this.#failures = 0;
      await this.#tellOwn('database', false, 'the database answers again', [], true);
      return notices;
    } catch (error) {
      this.#failures++;
      // One refusal is everyday life.
      if (this.#failures >= FAILURES_BEFORE_ALARM)
        await this.#tellOwn('database', true, `the database cannot be asked: ${textOf(error)}`, [], true);
      return [];
    }
  }

  *#checkSteps(dialect: Dialect): Steps<AlarmNotice[]> {
    return yield* withTime(monitorStatementsOf(dialect)('tallystick_outbox'), this.#clock, (_, nowMs) =>
      this.#checkAt(dialect, nowMs),
    );
  }

  *#checkAt(dialect: Dialect, nowMs: number): Steps<AlarmNotice[]> {
    const { channel, silenceMs, everyMs } = this.#options;
    if (!(yield* takeOffice(dialect, channel, this.#owner, LEASE_CHECKS * everyMs, nowMs))) return [];
    const remembered = yield* recall(dialect, channel, WATCHED_KINDS);
    const notices: AlarmNotice[] = [];
    for (const kind of WATCHED_KINDS) {
      const limit = limitOf(this.#rules, kind);
      const before = remembered.memory.get(kind);
      // What is not watched any more is over.
      const { value, examples } =
        limit === undefined
          ? { value: 0, examples: [] }
          : yield* measure(dialect, kind, channel, this.#settings.consumers ?? [''], nowMs);
      const tooMuch = limit !== undefined && value > limit;
      const { tell, memory } = decideAlarm(tooMuch, before ?? NOT_RAISED, silencedUntil(remembered, kind), silenceMs, nowMs);
      if (tell === undefined || !(yield* remember(dialect, channel, kind, before, memory))) continue;
      notices.push(this.#watched(kind, tell, { value, limit: limit ?? 0, examples }, before, memory, nowMs));
    }
    return notices;
  }

  #watched(
    kind: WatchedKind,
    event: AlarmEvent,
    { value, limit, examples }: { value: number; limit: number; examples: readonly AlarmExample[] },
    before: AlarmMemory | undefined,
    after: AlarmMemory,
    at: number,
  ): AlarmNotice {
    const { channel } = this.#options;
    const { says, next } = ALARM_KINDS[kind];
    const cleared = event === 'cleared';
    const since = cleared ? (before?.raisedAt ?? at) : after.raisedAt;
    const sentence = cleared ? `over: ${says(value)}` : says(value);
    return {
      alarm: `${channel}/${kind}`,
      kind,
      event,
      channel,
      at,
      since,
      value,
      limit,
      sentence,
      next: cleared ? '' : next,
      examples,
    };
  }

  /** An alarm that this process alone knows of; silences are asked for, but a database that does not answer silences nothing. */
  async #tellOwn(
    kind: string,
    raised: boolean,
    sentence: string,
    examples: readonly AlarmExample[],
    lasts: boolean,
  ): Promise<void> {
    const { channel, silenceMs } = this.#options;
    const at = this.#clock.now();
    const before = this.#own.get(kind) ?? NOT_RAISED;
    if (!raised && before.raisedAt === 0) return;
    const remembered = raised ? await this.#do((dialect) => recall(dialect, channel, [kind])).catch(() => undefined) : undefined;
    const { tell, memory } = decideAlarm(raised, before, silencedUntil(remembered, kind), silenceMs, at);
    this.#own.set(kind, memory);
    if (tell === undefined) return;
    const since = tell === 'cleared' ? before.raisedAt : memory.raisedAt;
    const event = lasts ? tell : 'happened';
    const value = raised ? 1 : 0;
    this.#tell({ alarm: `${channel}/${kind}`, kind, event, channel, at, since, value, limit: 0, sentence, next: '', examples });
  }

  #tell(notice: AlarmNotice): void {
    try {
      this.#settings.onAlarm?.(notice);
    } catch {
      // A listener that throws is its owner's; the others shall hear of the alarm all the same.
    }
    this.#webhook?.tell(notice);
  }

  #undelivered(notice: AlarmNotice, reason: string): void {
    const { kind, event } = notice;
    const own = this.#own.get(kind);
    if (own !== undefined) this.#own.set(kind, { ...own, quietUntil: 0 });
    else if (event !== 'cleared')
      this.#working = this.#working
        .then(() => this.#do((dialect) => unquiet(dialect, this.#options.channel, kind)))
        .catch(() => undefined);
    this.#settings.onUndelivered?.(notice, reason);
  }

  async #do<T>(steps: (dialect: Dialect) => Steps<T>): Promise<T> {
    return this.#reach.performAlone((session) => steps(session.dialect));
  }
}

/** Every kind that a notice may be of: what is watched, what relays, inboxes and outboxes report, and a database that cannot be asked. */
export const TOLD_KINDS: readonly string[] = [...WATCHED_KINDS, 'database', ...REPORTED_KINDS];

/** A leader that misses so many checks is replaced. */
const LEASE_CHECKS = 3;
const FAILURES_BEFORE_ALARM = 3;

function silencedUntil(remembered: Remembered | undefined, kind: string): number {
  const until = remembered?.silencedUntil;
  return Math.max(until?.get(kind) ?? 0, until?.get(ALL_KINDS) ?? 0);
}

function assertUrl(url: string): void {
  const { protocol } = new URL(url);
  if (protocol !== 'https:' && protocol !== 'http:')
    throw new TypeError(`alarms: webhook.url must be http: or https:, not ${protocol}`);
}

function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
