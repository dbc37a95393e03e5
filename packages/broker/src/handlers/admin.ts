import { call, run, type Steps } from '@tallystick/base';
import { encodeQueueTable, ResponseCode, type MessageQueue } from '@tallystick/remoting';
import type { ShownLane } from '../flow-control/lane.ts';
import type { HalfRow } from '../transaction/half-row.ts';
import { readOne, storeTimestampOf } from './one-record.ts';
import type { Parts } from './parts.ts';
import { cold, Reply, topicNotExist, type HandlerTable } from './reply.ts';

/** What tools ask about groups and the broker as a whole: 28, 200, 201, 208, 300, 352. */
export function adminHandlers(parts: Parts, startedAtMs: number): HandlerTable {
  const { consumers, offsets, reads, topics, clock } = parts;
  const groupNames = (): string[] => [...new Set([...consumers.names(), ...offsets.groups()])].sort();
  return {
    GET_BROKER_RUNTIME_INFO: cold('GET_BROKER_RUNTIME_INFO', (_header, reply) =>
      reply.json({ table: runtimeInfo(parts, startedAtMs) }),
    ),

    GET_CONSUME_STATS: cold('GET_CONSUME_STATS', (header, reply) => {
      const group = header.consumerGroup;
      const wanted = header.topic === undefined || header.topic === '' ? undefined : header.topic;
      run(
        () => consumeRows(parts, group, wanted),
        (error, rows) => {
          if (error !== undefined) reply.fail(ResponseCode.SYSTEM_ERROR, error.message);
          else reply.ok(undefined, encodeQueueTable('offsetTable', rows, { consumeTps: reads.rate(group, wanted) }));
        },
      );
    }),

    QUERY_TOPIC_CONSUME_BY_WHO: cold('QUERY_TOPIC_CONSUME_BY_WHO', ({ topic }, reply) => {
      if (topics.get(topic) === undefined) return reply.fail(ResponseCode.TOPIC_NOT_EXIST, topicNotExist(topic));
      reply.json({ groupList: [...new Set([...consumers.groupsOf(topic), ...offsets.groupsOf(topic)])].sort() });
    }),

    /** Groups need no making; what a tool sets for one is taken note of by nobody. */
    UPDATE_AND_CREATE_SUBSCRIPTIONGROUP: (peer, frame) => new Reply(peer, frame.ref()).ok(),

    GET_ALL_SUBSCRIPTIONGROUP_CONFIG: cold('GET_ALL_SUBSCRIPTIONGROUP_CONFIG', (_header, reply) => {
      const names = groupNames();
      reply.json(
        {
          dataVersion: { counter: names.length, stateVersion: 0, timestamp: clock.now() },
          forbiddenTable: {},
          subscriptionGroupTable: Object.fromEntries(names.map((name) => [name, groupJson(parts, name)])),
        },
        { totalGroupNum: names.length },
      );
    }),

    GET_SUBSCRIPTIONGROUP_CONFIG: cold('GET_SUBSCRIPTIONGROUP_CONFIG', ({ group }, reply) => reply.json(groupJson(parts, group))),
  };
}

/**
 * How far the group is in each of its queues. As in RocketMQ `lastTimestamp` is when the message before its offset was stored, 0 if it is
 * not there any more. One read of the disk at a time: a tool's look at many queues must not fill the line.
 */
function* consumeRows(parts: Parts, group: string, wanted: string | undefined): Steps<(readonly [MessageQueue, unknown])[]> {
  const { identity, offsets, store } = parts;
  const rows: (readonly [MessageQueue, unknown])[] = [];
  for (const { topic, queueId, offset } of [...offsets.of(group)]) {
    if (offset < 0 || (wanted !== undefined && topic !== wanted)) continue;
    const queue = store.findQueue(topic, queueId);
    const lastTimestamp =
      queue === undefined || offset === 0
        ? 0
        : yield* call<number>((done) =>
            readOne(store, queue, offset - 1, (record) => done(undefined, record === undefined ? 0 : storeTimestampOf(record))),
          );
    rows.push([
      { topic, brokerName: identity.brokerName, queueId },
      { brokerOffset: queue?.maxOffset ?? 0, consumerOffset: offset, pullOffset: offset, lastTimestamp },
    ]);
  }
  return rows;
}

/** RocketMQ's SubscriptionGroupConfig: every group has the defaults. */
function groupJson(parts: Parts, groupName: string): Record<string, unknown> {
  return {
    attributes: {},
    brokerId: 0,
    consumeBroadcastEnable: true,
    consumeEnable: true,
    consumeFromMinEnable: true,
    consumeMessageOrderly: false,
    consumeTimeoutMinute: 15,
    groupName,
    groupSysFlag: 0,
    notifyConsumerIdsChangedEnable: true,
    retryMaxTimes: parts.options.retryMax,
    retryQueueNums: 1,
    whichBrokerWhenConsumeSlowly: 1,
  };
}

/** Keys that RocketMQ's tools print, then ours: counters and unsettled halves. All values are texts. */
function runtimeInfo(parts: Parts, startedAtMs: number): Record<string, string> {
  const { store, counters, rates, clock, halves, options } = parts;
  const nowMs = clock.monotonic();
  const info = store.info();
  const table = halves.table;
  return {
    brokerActive: 'true',
    brokerVersionDesc: 'V5_3_2',
    bootTimestamp: String(startedAtMs),
    runtime: `${Math.floor((clock.now() - startedAtMs) / 1000)} s`,
    putTps: rates.text('sends', nowMs),
    getTransferredTps: rates.text('pulledMessages', nowMs),
    ...laneInfo(parts.lanes()),
    pageCacheLockTimeMills: String(Math.round(parts.writeAgeMs())),
    remainTransientStoreBufferNumbs: String(Math.min(store.availableBuffers(), JAVA_INT_MAX)),
    remainHowManyDataToCommit: String(info.pendingBytes),
    remainHowManyDataToFlush: String(info.unsyncedBytes),
    // Not known, as RocketMQ says it.
    earliestMessageTimeStamp: '-1',
    commitLogDiskRatio: String(info.diskUsedRatio ?? -1),
    commitLogMinOffset: String(info.start),
    commitLogMaxOffset: String(info.writtenEnd),
    waitTimeMillsInTransactionQueue: String(options.waitTimeMillsInTransactionQueue),
    ...Object.fromEntries(Object.entries(counters).map(([name, value]) => [`ts.${name}`, String(value)])),
    'ts.store.state': info.state,
    'ts.store.durableEnd': String(info.durableEnd),
    'ts.store.unsyncedBytes': String(info.unsyncedBytes),
    'ts.store.oldestWaitMs': String(Math.round(info.oldestWaitMs)),
    'ts.sendsInFlight': String(parts.admission.count),
    'ts.halves.open': String(table.openCount),
    'ts.halves.parked': String(table.parkedCount),
    'ts.halves': JSON.stringify(table.rows(HALVES_SHOWN).map((row) => shownHalf(row, clock.now()))),
  };
}

/** Size, limit and longest wait of each lane, under the names that RocketMQ has for its queues. */
function laneInfo(lanes: readonly ShownLane[]): Record<string, string> {
  const table: Record<string, string> = {};
  for (const { name, waiting, waitingBytes, capacity, headWaitMs, heldConnections } of lanes) {
    const { size, limit } = QUEUE_KEYS[name] ?? { size: `${name}ThreadPoolQueueSize`, limit: `${name}ThreadPoolQueueCapacity` };
    table[size] = String(waiting);
    table[limit] = String(capacity);
    table[`${name}ThreadPoolQueueHeadWaitTimeMills`] = String(Math.round(headWaitMs));
    table[`ts.lane.${name}.bytes`] = String(waitingBytes);
    table[`ts.lane.${name}.heldConnections`] = String(heldConnections);
  }
  return table;
}

const QUEUE_KEYS: Readonly<Record<string, { readonly size: string; readonly limit: string } | undefined>> = {
  endTransaction: { size: 'EndTransactionQueueSize', limit: 'EndTransactionThreadPoolQueueCapacity' },
};

const JAVA_INT_MAX = 2_147_483_647;
const HALVES_SHOWN = 1000;

/** An unsettled half as people see it. */
export interface ShownHalf {
  readonly position: number;
  /** Offset in the half queue. */
  readonly offset: number;
  readonly group: string;
  readonly topic: string;
  readonly id: string;
  readonly ageMs: number;
  readonly checks: number;
  readonly state: 'open' | 'parked';
}

export function shownHalf(row: HalfRow, nowMs: number): ShownHalf {
  const { position, offset, group, topic, id, checks, state } = row;
  return { position, offset, group, topic, id, ageMs: Math.max(0, nowMs - row.storedAtMs), checks, state };
}
