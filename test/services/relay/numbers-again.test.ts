/**
 * A standby that was promoted without the last commits gives their numbers again: what the relay still holds of the lost messages must not be
 * written on those that got their numbers.
 */
import { expect, test } from 'vitest';
import type { PublishOutcome } from '@tallystick/reliable';
import { drained, world, type World } from './support.ts';

/** The number of the only message is another's now. */
async function replaced({ pool }: World): Promise<void> {
  const client = await pool.connect();
  await client.query('begin');
  const { rows } = await client.query<{ sequence: string }>('delete from tallystick_outbox returning sequence');
  await client.query('delete from tallystick_outbox_body');
  await client.query(
    `insert into tallystick_outbox
       (sequence, id, channel, shard, message_key, topic, mode, state, attempts, tries, due_at, created_at, changed_at, body_bytes)
     overriding system value values ($1, 'OTHER', '', 5, null, 't', 'immediate', 'waiting', 0, 0, 0, 1, 1, 5)`,
    [rows[0]!.sequence],
  );
  await client.query(`insert into tallystick_outbox_body (id, channel, headers, body) values ('OTHER', '', null, 'other')`);
  await client.query('commit');
  client.release();
}

test.each<PublishOutcome['outcome']>(['confirmed', 'rejected'])(
  'a message that got the number of one in the air that is %s then leaves itself',
  async (outcome) => {
    const here = await world();
    let first = true;
    here.broker.before = async () => {
      if (first) await replaced(here);
    };
    here.broker.answer = () => {
      const answer = first ? outcome : 'confirmed';
      first = false;
      return answer;
    };
    await here.add({ body: 'lost' });
    here.relay({ attemptsMax: 1 }).start();
    await drained(here);
    expect(here.broker.stored.map(({ body }) => Buffer.from(body).toString()).at(-1)).toBe('other');
    expect(here.alarms.filter(({ kind }) => kind === 'dead')).toEqual([]);
    expect((await here.pool.query('select count(*)::int as bodies from tallystick_outbox_body')).rows).toEqual([{ bodies: 0 }]);
  },
);
