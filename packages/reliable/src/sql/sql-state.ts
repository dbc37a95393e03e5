/** What the SQLSTATE in a driver's error says, whichever library has wrapped it. */
import { member } from './handles/library.ts';

/**
 * Whether the server itself refused the statement, so that nothing was committed. An error of the connection, and a server that is
 * going down, leave it open.
 */
export function isRefusal(error: unknown): boolean {
  const state = sqlStateOf(error);
  return state !== undefined && !NO_ANSWER.test(state);
}

/** Connection exceptions, administrator's and crash shutdown, and the class of the server's own end. */
const NO_ANSWER = /^(08|57P|58|XX)/;

/** The SQLSTATE in an error, however deep the library has wrapped the driver's. */
export function sqlStateOf(error: unknown): string | undefined {
  let at = error;
  for (let depth = 0; depth < 5 && at !== null && at !== undefined; depth++) {
    for (const code of [member(at, 'code'), member(at, 'originalCode')])
      if (typeof code === 'string' && SQL_STATE.test(code)) return code;
    at = WRAPPED_AS.map((name) => member(at, name)).find((inner) => typeof inner === 'object' && inner !== null && inner !== at);
  }
  return undefined;
}

/** Where the libraries keep the driver's error: Drizzle, TypeORM, MikroORM; Prisma in two steps. */
const WRAPPED_AS = ['cause', 'driverError', 'previous', 'meta', 'driverAdapterError'];

/** Five characters with a digit in them: Node's own codes (EPIPE) have none. Prisma's (P2028) begin with P1 to P9, PL/pgSQL's with P0. */
const SQL_STATE = /^(?=.*\d)(?!P[1-9]\d{3}$)[0-9A-Z]{5}$/;
