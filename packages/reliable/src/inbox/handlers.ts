/** Who handles which messages, and what a handler gets to see. */
import { resolveOptions, type GivenOptions } from '@tallystick/base';
import type { CallRequest } from '../call/call.ts';
import { fail } from '../errors.ts';
import { HANDLER_OPTIONS, type HandlerOptions, type InboxOptions } from '../options.ts';
import type { NewMessage } from '../outbox/message-types.ts';
import type { Answer } from '../sql/handles.ts';
import type { Delivery } from '../transports/transport.ts';

/** What a handler works with; everything done through it belongs to the handler's transaction, and ends with the handler. */
export interface HandlerContext<Tx> {
  /** The library's own handle of the transaction. */
  readonly tx: Tx;
  /** Sends a message if and only if the transaction commits; answers its id. Throws NO_OUTBOX. */
  readonly emit: (message: NewMessage) => Answer<Tx, string>;
  /** Makes an HTTP call if and only if the transaction commits, and after it; answers its id. */
  readonly call: (request: CallRequest) => Answer<Tx, string>;
  /** Aborted when the handler has taken longer than `handlerTimeoutMs`: hand it on to whatever can be given up. */
  readonly signal: AbortSignal;
  /** Failures of this message before this attempt. */
  readonly attempts: number;
}

/** A delivery as its handler gets it. */
export interface Received<Payload = unknown> extends Delivery {
  /** The body as a value, for bodies that are JSON; read when it is asked for. What its type says is believed, not checked. Throws SyntaxError. */
  readonly payload: Payload;
}

/** On a synchronous handle it must be synchronous, too. What it returns is not looked at; when it throws, the attempt has failed. */
export type Handler<Tx, Payload = unknown> = (delivery: Received<Payload>, context: HandlerContext<Tx>) => unknown;

export function receivedOf(delivery: Delivery): Received {
  // Not enumerable: a copy of the delivery reads no body.
  return Object.defineProperty({ ...delivery }, 'payload', { get: () => payloadOf(delivery) }) as Received;
}

function payloadOf({ body }: Delivery): unknown {
  return JSON.parse(Buffer.from(body.buffer, body.byteOffset, body.byteLength).toString('utf8'));
}

export interface HandleSettings<Tx> extends GivenOptions<typeof HANDLER_OPTIONS> {
  /**
   * The id by which repeats are recognised, and by which the handler and the table know the message: given, it decides, also where the sender
   * gives an id of its own. For foreign senders that give none, or another one at each repeat. Two messages of one such id are one. Default:
   * the delivery's id, by which alone a sender is confirmed to.
   */
  readonly idOf?: ((delivery: Delivery) => string) | undefined;
  /** First guard: the lock under which the message is handled, such as `account:${id}`: as fine as possible, as coarse as the business needs. */
  readonly lock?: ((delivery: Delivery) => string) | undefined;
  /** Second guard: the business's own answer whether the effect is there already. True is success without work. */
  readonly alreadyDone?: ((tx: Tx, delivery: Delivery) => boolean | Promise<boolean>) | undefined;
}

export interface Rule<Tx> {
  readonly type: string;
  readonly handler: Handler<Tx>;
  readonly options: HandlerOptions;
  readonly idOf: HandleSettings<Tx>['idOf'];
  readonly lock: HandleSettings<Tx>['lock'];
  readonly alreadyDone: HandleSettings<Tx>['alreadyDone'];
}

export class Handlers<Tx> {
  readonly #defaults: HandlerOptions;
  readonly #rules = new Map<string, Rule<Tx>>();
  /** Under which messages of types that nobody handles are kept. */
  readonly unhandled: Rule<Tx>;

  constructor(options: InboxOptions) {
    this.#defaults = pick(options);
    this.unhandled = {
      type: '',
      handler: (delivery) => {
        throw fail('NO_HANDLER', delivery.type === undefined ? 'a message without a type' : JSON.stringify(delivery.type));
      },
      options: this.#defaults,
      idOf: undefined,
      lock: undefined,
      alreadyDone: undefined,
    };
  }

  /** Throws HANDLER_TAKEN and OptionsError. */
  add(type: string, handler: Handler<Tx>, { idOf, lock, alreadyDone, ...given }: HandleSettings<Tx>): void {
    if (this.#rules.has(type)) throw fail('HANDLER_TAKEN', JSON.stringify(type));
    const options = resolveOptions('handler', HANDLER_OPTIONS, { ...this.#defaults, ...given });
    this.#rules.set(type, { type, handler, options, idOf, lock, alreadyDone });
  }

  /** Of the type itself, else of `*`. */
  of(type: string | undefined): Rule<Tx> {
    return (type === undefined ? undefined : this.#rules.get(type)) ?? this.#rules.get('*') ?? this.unhandled;
  }
}

function pick(options: InboxOptions): HandlerOptions {
  const names = Object.keys(HANDLER_OPTIONS) as (keyof HandlerOptions)[];
  return Object.fromEntries(names.map((name) => [name, options[name]])) as unknown as HandlerOptions;
}
