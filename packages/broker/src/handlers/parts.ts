import type { Clock, Random, Timers, Turn } from '@tallystick/base';
import type { Peer } from '@tallystick/remoting';
import type { Counters } from '../counters.ts';
import type { Rates } from '../rates.ts';
import type { PullHold } from '../delivery/pull-hold.ts';
import type { Admission } from '../flow-control/admission.ts';
import type { ShownLane } from '../flow-control/lane.ts';
import type { ConsumerGroups } from '../groups/consumer-groups.ts';
import type { ConsumerOffsets } from '../groups/consumer-offsets.ts';
import type { GroupReads } from '../groups/group-reads.ts';
import type { ProducerGroups } from '../groups/producer-groups.ts';
import type { QueueLocks } from '../groups/queue-locks.ts';
import type { ReadingLimits } from '../groups/reading-limits.ts';
import type { BrokerOptions } from '../options.ts';
import type { RegisteredBrokers } from '../registration/registered-brokers.ts';
import type { ProducerSequences } from '../sequences/producer-sequences.ts';
import type { Store } from '../store/store.ts';
import type { TopicTable } from '../topics/topic-table.ts';
import type { HalfState } from '../transaction/half-state.ts';
import type { Identity } from '../identity.ts';

/** What handlers work with: the wiring list hands each part in once. */
export interface Parts {
  readonly options: BrokerOptions;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly turn: Turn;
  readonly random: Random;
  readonly identity: Identity;
  readonly store: Store;
  readonly topics: TopicTable;
  readonly producers: ProducerGroups<Peer>;
  readonly consumers: ConsumerGroups<Peer>;
  readonly offsets: ConsumerOffsets;
  readonly limits: ReadingLimits;
  readonly locks: QueueLocks;
  readonly hold: PullHold;
  readonly halves: HalfState;
  readonly sequences: ProducerSequences;
  readonly registered: RegisteredBrokers;
  readonly admission: Admission;
  /** How much the answer to a pull may carry that asks for so much. */
  readonly pullBytes: (wanted: number) => number;
  readonly lanes: () => readonly ShownLane[];
  /** How long the write of the log that is under way has taken. */
  readonly writeAgeMs: () => number;
  readonly counters: Counters;
  readonly rates: Rates;
  readonly reads: GroupReads;
}
