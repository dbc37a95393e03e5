import { describe, expect, it } from 'vitest';
import { OffsetStore } from '../../src/consumer/offset-store.ts';

const KEY = { topic: 't', brokerName: 'b', queueId: 0 };

function store() {
  const commits: string[] = [];
  const answers: ((error: unknown) => void)[] = [];
  const state = { offset: 5 };
  const offsets = new OffsetStore((_, offset, answered, done) => {
    commits.push(`${offset}${answered ? ' answered' : ''}`);
    answers.push(done);
  });
  offsets.follow(KEY, 5, () => state.offset);
  return { offsets, commits, answers, state };
}

describe('offset store', () => {
  it('tells an offset when it changed, once', () => {
    const { offsets, commits, state } = store();
    offsets.tellChanged();
    state.offset = 7;
    offsets.tellChanged();
    offsets.tellChanged();
    expect(commits).toEqual(['7']);
  });

  it('tells it again when that failed, or when the connection was lost in between', () => {
    const { offsets, commits, answers, state } = store();
    state.offset = 7;
    offsets.tellChanged();
    answers[0]!(new Error('no connection'));
    offsets.tellChanged();
    offsets.doubt();
    offsets.tellChanged();
    expect(commits).toEqual(['7', '7', '7']);
  });

  it('takes the last word of a queue that leaves with an answer, and no word after it', () => {
    const { offsets, commits, answers, state } = store();
    let left = false;
    offsets.leave(KEY, () => (left = true));
    state.offset = 9;
    offsets.tellChanged();
    expect([commits, left]).toEqual([['5 answered'], false]);
    answers[0]!(undefined);
    expect(left).toBe(true);
  });

  it('waits for all answers at the end, failed ones too', () => {
    const { offsets, answers } = store();
    offsets.follow({ ...KEY, queueId: 1 }, undefined, () => 1);
    let done = false;
    offsets.tellAll(() => (done = true));
    answers[0]!(undefined);
    expect(done).toBe(false);
    answers[1]!(new Error('timeout'));
    expect(done).toBe(true);
  });
});
