import { describe, expect, it } from 'vitest';
import { ManualTime } from '@tallystick/base/testing';
import { answerError, type ClientError, fail } from '../../src/errors.ts';
import { RouteTable } from '../../src/route/route-table.ts';
import type { TopicRoute } from '../../src/route/topic-route.ts';

const UNKNOWN = answerError(17, 'no such topic');

/** When (ms) a topic was asked for, under answers that the test changes. */
function table() {
  const time = new ManualTime(0);
  const stage = { time, asks: [] as number[], answer: UNKNOWN as ClientError | TopicRoute };
  const source = {
    route: (_topic: string, _queues: number, done: (error: ClientError | undefined, route: TopicRoute) => void) => {
      stage.asks.push(time.monotonic());
      time.after(0, () => {
        if (stage.answer instanceof Error) done(stage.answer, undefined as unknown as TopicRoute);
        else done(undefined, stage.answer);
      });
    },
  };
  const options = { routeIntervalMs: 30_000, routeRetryMs: 500, routeRetryMaxMs: 4000 };
  return { ...stage, stage, routes: new RouteTable(source, time, options, () => {}) };
}

function route(isStandIn: boolean): TopicRoute {
  return { isStandIn, addresses: new Map([['broker-a', 'h:1']]), readQueues: [], writeQueues: [] } as unknown as TopicRoute;
}

describe('the lookups of a topic', () => {
  it('back off while the answer is that there is none', () => {
    const { routes, time, asks } = table();
    routes.watch('t', 0, () => {});
    time.advance(16_000);
    expect(asks).toEqual([0, 500, 1500, 3500, 7500, 11_500, 15_500]);
  });

  it('back off while there is only a stand-in, also when nobody waits', () => {
    const { routes, time, asks, stage } = table();
    stage.answer = route(true);
    routes.watch(
      't',
      4,
      () => {},
      () => false,
    );
    time.advance(8000);
    expect(asks).toEqual([0, 500, 1500, 3500, 7500]);
  });

  it('go on at one pace while no name server answers', () => {
    const { routes, time, asks, stage } = table();
    stage.answer = fail('NO_CONNECTION');
    routes.watch('t', 0, () => {});
    time.advance(2000);
    expect(asks).toEqual([0, 500, 1000, 1500, 2000]);
  });

  it('rest while there is no route and nobody waits, and go on when somebody does', () => {
    const { routes, time, asks } = table();
    let waits = false;
    routes.watch(
      't',
      4,
      () => {},
      () => waits,
    );
    time.advance(60_000);
    expect(asks).toEqual([0]);
    waits = true;
    routes.need('t');
    time.advance(1000);
    expect(asks).toEqual([0, 60_000, 61_000]);
  });

  it('do not rest for one watcher while another waits', () => {
    const { routes, time, asks } = table();
    routes.watch(
      't',
      4,
      () => {},
      () => false,
    );
    routes.watch('t', 0, () => {});
    time.advance(600);
    expect(asks.length).toBeGreaterThan(1);
  });

  it('begin at the short pause again for who comes later', () => {
    const { routes, time, asks } = table();
    routes.watch('t', 0, () => {});
    time.advance(8000);
    const before = asks.length;
    routes.watch('t', 0, () => {});
    time.advance(600);
    expect(asks.slice(before)).toEqual([8000, 8500]);
  });
});
