import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  COMMANDS,
  commandName,
  decodeAnswer,
  decodeHeader,
  emptySendAnswer,
  emptySendRequest,
  encodeHost,
  EndTransactionLocator,
  Frame,
  Interner,
  Locator,
  NameIndex,
  offsetMessageId,
  Output,
  parseFrame,
  protocolPage,
  PullAnswerLocator,
  PullLocator,
  RequestCode,
  ResponseCode,
  responseRow,
  SendAnswerLocator,
  SendAnswers,
  SendLocator,
  SendRequests,
  storedAfter,
  UpdateOffsetLocator,
  wireFields,
  writeFrame,
  type CommandName,
  type FieldTable,
  type FieldValues,
  type Header,
  type HeaderKind,
} from '../src/index.ts';

const kinds = fc.constantFrom<HeaderKind>(0, 1);
const word = fc.string({ unit: 'grapheme', minLength: 1, maxLength: 20 }).map((text) => Buffer.from(text).toString());
const i32 = fc.integer();
const i64 = fc.maxSafeInteger();

function frameOf(kind: HeaderKind, code: number, fields: FieldValues, flag = 0): Frame {
  const out = new Output();
  writeFrame(out, { kind, code, flag, opaque: 1, language: 7, version: 479, remark: undefined }, fields, undefined);
  return parsed(out);
}

function parsed(out: Output): Frame {
  const bytes = out.bytes.subarray(0, out.at);
  const frame = new Frame();
  expect(parseFrame(frame, bytes, 0, bytes.length)).toBeUndefined();
  return frame;
}

/** An arbitrary header of a field table: mandatory fields always, others sometimes. */
function headerOf(table: FieldTable): fc.Arbitrary<Record<string, string | number | boolean>> {
  const value = { text: word, i32, i64, flag: fc.boolean() };
  const model = Object.fromEntries(
    Object.entries(table).map(([name, field]) => [name, value[field.kind] as fc.Arbitrary<string | number | boolean>]),
  );
  const must = Object.entries(table)
    .filter(([, field]) => field.must)
    .map(([name]) => name);
  return fc.record(model, { requiredKeys: must });
}

describe.each(Object.keys(COMMANDS) as CommandName[])('the header of %s', (name) => {
  it('reads back as written, in both kinds, by generic decoding', () => {
    fc.assert(
      fc.property(kinds, headerOf(COMMANDS[name].request), headerOf(COMMANDS[name].answer), (kind, request, answer) => {
        const sent = frameOf(kind, COMMANDS[name].code, wireFields(name, request as Header<typeof name>));
        expect(decodeHeader(name, sent)).toEqual(request);
        expect(decodeAnswer(name, frameOf(kind, 0, answer as FieldValues, 1))).toEqual(answer);
      }),
      { numRuns: 20 },
    );
  });

  it('without a mandatory field is refused by a sentence that names it', () => {
    const must = Object.entries(COMMANDS[name].request)
      .filter(([, field]) => field.must)
      .map(([field]) => field);
    const decoded = decodeHeader(name, frameOf(1, 0, {}));
    if (must.length === 0) expect(decoded).toEqual({});
    else expect(decoded).toBe(must.map((field) => `field ${field} is missing`).join('; '));
  });
});

describe('hot locators', () => {
  it.each(['SEND_MESSAGE', 'SEND_MESSAGE_V2', 'SEND_BATCH_MESSAGE', 'SEND_REPLY_MESSAGE', 'SEND_REPLY_MESSAGE_V2'] as const)(
    'of %s say what generic decoding says',
    (name) => {
      const locator = new SendLocator();
      fc.assert(
        fc.property(kinds, headerOf(COMMANDS[name].request), (kind, header) => {
          const frame = frameOf(kind, COMMANDS[name].code, wireFields(name, header as Header<typeof name>));
          expect(locator.locate(frame)).toBe(true);
          const properties = locator.propertiesBytes.toString('utf8', locator.propertiesStart, locator.propertiesEnd);
          expect({
            producerGroup: locator.producerGroup(),
            topic: locator.topic(),
            defaultTopic: locator.defaultTopic(),
            defaultTopicQueueNums: locator.defaultTopicQueueNums(),
            queueId: locator.queueId(),
            sysFlag: locator.sysFlag(),
            bornTimestamp: locator.bornTimestamp(),
            flag: locator.flag(),
            properties,
            reconsumeTimes: locator.reconsumeTimes(),
            unitMode: locator.unitMode(),
            maxReconsumeTimes: locator.maxReconsumeTimes(),
            batch: locator.batch(),
          }).toEqual({
            properties: '',
            reconsumeTimes: 0,
            unitMode: false,
            maxReconsumeTimes: -1,
            batch: false,
            ...header,
            brokerName: undefined,
          });
        }),
      );
    },
  );

  it('of pulls, second confirmations and offsets say what generic decoding says', () => {
    const pull = new PullLocator();
    const pulled = new PullAnswerLocator();
    const end = new EndTransactionLocator();
    const update = new UpdateOffsetLocator();
    fc.assert(
      fc.property(
        kinds,
        headerOf(COMMANDS.PULL_MESSAGE.request),
        headerOf(COMMANDS.PULL_MESSAGE.answer),
        headerOf(COMMANDS.END_TRANSACTION.request),
        headerOf(COMMANDS.UPDATE_CONSUMER_OFFSET.request),
        (kind, p, a, e, u) => {
          expect(pull.locate(frameOf(kind, 11, p))).toBe(true);
          const got = Object.fromEntries(
            (
              [
                'consumerGroup',
                'topic',
                'queueId',
                'queueOffset',
                'maxMsgNums',
                'sysFlag',
                'commitOffset',
                'suspendTimeoutMillis',
                'subVersion',
              ] as const
            ).map((name) => [name, pull[name]()]),
          );
          expect(p).toMatchObject(got);
          expect([pull.subscription(), pull.expressionType(), pull.maxMsgBytes()]).toEqual([
            p.subscription ?? '',
            p.expressionType ?? 'TAG',
            p.maxMsgBytes ?? 0,
          ]);
          expect(pulled.locate(frameOf(kind, 19, a))).toBe(true);
          expect([pulled.suggestWhichBrokerId(), pulled.nextBeginOffset(), pulled.minOffset(), pulled.maxOffset()]).toEqual([
            a.suggestWhichBrokerId,
            a.nextBeginOffset,
            a.minOffset,
            a.maxOffset,
          ]);
          expect(end.locate(frameOf(kind, 37, e))).toBe(true);
          expect([
            end.producerGroup(),
            end.tranStateTableOffset(),
            end.commitLogOffset(),
            end.commitOrRollback(),
            end.fromTransactionCheck(),
            end.msgId(),
            end.transactionId(),
          ]).toEqual([
            e.producerGroup,
            e.tranStateTableOffset,
            e.commitLogOffset,
            e.commitOrRollback,
            e.fromTransactionCheck ?? false,
            e.msgId ?? '',
            e.transactionId ?? '',
          ]);
          expect(update.locate(frameOf(kind, 15, u))).toBe(true);
          expect([update.consumerGroup(), update.topic(), update.queueId(), update.commitOffset()]).toEqual([
            u.consumerGroup,
            u.topic,
            u.queueId,
            u.commitOffset,
          ]);
        },
      ),
    );
  });

  const good = { a: 'g', b: 'T', c: 'TBW102', d: 4, e: 0, f: 0, g: 1, h: 0 };

  it.each([
    [{ ...good, e: undefined }, 'field queueId is missing'],
    [{ ...good, e: '1.5' }, 'field queueId is not an i32'],
    [{ ...good, e: '2147483648' }, 'field queueId is not an i32'],
    [{ ...good, g: 'x', h: '' }, /^field bornTimestamp is not an i64; field flag/],
  ])('refuse %j with a sentence', (fields, sentence) => {
    const locator = new SendLocator();
    for (const kind of [0, 1] as const) {
      expect(locator.locate(frameOf(kind, 310, fields))).toBe(false);
      expect(locator.fault()).toMatch(sentence);
      expect(locator.locate(frameOf(kind, 310, good))).toBe(true);
    }
  });

  it('take the last of equal names, as RocketMQ does', () => {
    const header = Buffer.from('{"code":31,"extFields":{"topic":"A","queueId":"x","topic":"B","queueId":"7"}}');
    const frame = new Frame();
    const bytes = Buffer.concat([Buffer.from([0, 0, 0, 4 + header.length, 0, 0, 0, header.length]), header]);
    expect(parseFrame(frame, bytes, 0, bytes.length)).toBeUndefined();
    expect(decodeHeader('GET_MIN_OFFSET', frame)).toEqual({ topic: 'B', queueId: 7 });
  });

  it('take only the word true as true, in any case', () => {
    for (const [text, wanted] of [
      ['true', true],
      ['TRUE', true],
      ['True', true],
      ['1', false],
      ['yes', false],
      ['truer', false],
    ] as const) {
      expect(decodeHeader('GET_MAX_OFFSET', frameOf(0, 30, { topic: 'T', queueId: 0, committed: text }))).toMatchObject({
        committed: wanted,
      });
    }
  });
});

describe('templates', () => {
  const raw = fc.uint8Array({ maxLength: 80 }).map((some) => Buffer.from(Buffer.from(some).toString('utf8')));

  it('of sends write what generic encoding would', () => {
    const route = fc.record(
      {
        producerGroup: word,
        topic: word,
        queueId: fc.nat(100),
        defaultTopic: word,
        defaultTopicQueueNums: fc.nat(100),
        batch: fc.boolean(),
        brokerName: word,
        oneway: fc.boolean(),
      },
      { requiredKeys: ['producerGroup', 'topic', 'queueId', 'defaultTopic', 'defaultTopicQueueNums', 'batch'] },
    );
    const numbers = fc.record({
      sysFlag: i32,
      flag: i32,
      bornTimestamp: i64,
      reconsumeTimes: i32,
      maxReconsumeTimes: fc.integer({ min: -1, max: 20 }),
    });
    fc.assert(
      fc.property(
        kinds,
        route,
        numbers,
        raw,
        raw,
        fc.nat(5),
        fc.nat(0x7fffffff),
        (kind, to, some, properties, body, skip, opaque) => {
          const send = Object.assign(emptySendRequest(), some, {
            properties,
            propertiesStart: Math.min(skip, properties.length),
            propertiesEnd: properties.length,
            body,
            bodyStart: Math.min(skip, body.length),
            bodyEnd: body.length,
          });
          const out = new Output();
          new SendRequests(to).encode(out, kind, opaque, send);
          const frame = parsed(out);
          expect(frame).toMatchObject({
            headerKind: kind,
            code: to.batch ? 320 : 310,
            opaque,
            flag: to.oneway === true ? 2 : 0,
            version: 479,
            language: 7,
          });
          expect(frame.body()).toEqual(Buffer.from(body.subarray(send.bodyStart)));
          const { oneway: _oneway, ...fixed } = to;
          const text = properties.toString('utf8', send.propertiesStart);
          // A cut inside a character is not text any more; it only has to arrive.
          if (Buffer.from(text).equals(properties.subarray(send.propertiesStart))) {
            const { maxReconsumeTimes, ...others } = some;
            const most = maxReconsumeTimes < 0 ? {} : { maxReconsumeTimes };
            expect(decodeHeader('SEND_MESSAGE_V2', frame)).toEqual({
              ...fixed,
              ...others,
              ...most,
              unitMode: false,
              ...(text === '' ? {} : { properties: text }),
            });
          }
        },
      ),
    );
  });

  it('of send answers write what generic encoding would, for one message and for a batch', () => {
    const hosts = fc.constantFrom(encodeHost('10.1.2.3', 10911)!, encodeHost('::1', 9876)!);
    const ids = fc.array(fc.maxSafeNat(), { minLength: 1, maxLength: 20 });
    const locator = new SendAnswerLocator();
    fc.assert(
      fc.property(
        kinds,
        hosts,
        ids,
        fc.constantFrom(0, 10, 11, 12),
        i32,
        i64,
        fc.maxSafeNat(),
        raw,
        fc.nat(0x7fffffff),
        (kind, host, positions, code, queueId, queueOffset, storeTimestamp, key, opaque) => {
          const answer = Object.assign(emptySendAnswer(), {
            code,
            positions,
            count: positions.length,
            queueId,
            queueOffset,
            storeTimestamp,
          });
          Object.assign(answer, {
            transactionId: Buffer.concat([Buffer.from('xx'), key]),
            transactionIdStart: 2,
            transactionIdEnd: 2 + key.length,
          });
          const out = new Output();
          new SendAnswers(host).encode(out, kind, opaque, answer);
          const frame = parsed(out);
          expect(frame).toMatchObject({ headerKind: kind, code, opaque, flag: 1, version: 479, language: 7, isResponse: true });
          expect(locator.locate(frame)).toBe(true);
          expect(locator.msgId()).toBe(positions.map((position) => offsetMessageId(host, position)).join(','));
          expect([locator.queueId(), locator.queueOffset(), locator.storeTimestamp(), locator.transactionId()]).toEqual([
            queueId,
            queueOffset,
            storeTimestamp,
            key.toString(),
          ]);
          expect(decodeAnswer('SEND_MESSAGE_V2', frame)).toMatchObject({ MSG_REGION: 'DefaultRegion', TRACE_ON: true });
        },
      ),
    );
  });
});

describe('names', () => {
  it('are found among others, and strangers are not', () => {
    fc.assert(
      fc.property(fc.uniqueArray(word, { maxLength: 40 }), word, (names, stranger) => {
        const index = new NameIndex(names);
        for (const [slot, name] of names.entries()) {
          const bytes = Buffer.from(`x${name}x`);
          expect(index.find(bytes, 1, bytes.length - 1)).toBe(slot);
        }
        const bytes = Buffer.from(stranger);
        expect(index.find(bytes, 0, bytes.length)).toBe(names.indexOf(stranger));
        expect(index.find(bytes, 0, 0)).toBe(-1);
      }),
    );
  });

  it('are remembered by a small cache that forgets but never confuses', () => {
    const interner = new Interner(16);
    const long = 'x'.repeat(300);
    fc.assert(
      fc.property(fc.array(fc.oneof(word, fc.constant(''), fc.constant(long)), { maxLength: 100 }), (texts) => {
        for (const text of texts) {
          const bytes = Buffer.from(`<${text}>`);
          expect(interner.text(bytes, 1, bytes.length - 1)).toBe(text);
        }
      }),
    );
  });

  it('of commands and answers lead to their codes and back', () => {
    expect(RequestCode.PULL_MESSAGE).toBe(11);
    expect(ResponseCode.SYSTEM_BUSY).toBe(2);
    expect(commandName(310)).toBe('SEND_MESSAGE_V2');
    expect(commandName(-5)).toBeUndefined();
    expect(responseRow(604)?.name).toBe('ILLEGAL_OPERATION');
  });

  it.each([
    [0, 'yes'],
    [1, 'maybe'],
    [2, 'no'],
    [10, 'maybe'],
    [11, 'maybe'],
    [12, 'maybe'],
    [13, 'no'],
    [14, 'no'],
    [16, 'no'],
    [17, 'no'],
    [26, 'no'],
    [29, 'no'],
    [12345, 'maybe'],
  ] as const)('answer %i to a send means stored: %s', (code, stored) => {
    expect(storedAfter(code)).toBe(stored);
  });

  it('a locator holds at most 31 fields', () => {
    const table = Object.fromEntries(Array.from({ length: 32 }, (_, n) => [`f${n}`, COMMANDS.GET_MIN_OFFSET.request.topic!]));
    expect(() => new Locator(table)).toThrow('31 fields');
  });

  it('of every command and every answer are on the reference page, with their fields', () => {
    const page = protocolPage();
    for (const [name, row] of Object.entries(COMMANDS)) {
      expect(page).toContain(`### ${row.code} ${name}\n`);
      for (const field of Object.keys(row.request)) expect(page).toContain(field);
    }
    expect(page).toContain('| 604 | ILLEGAL_OPERATION | no |');
    expect(page).toContain('| `b` topic | text | must | Topic name. |');
  });
});
