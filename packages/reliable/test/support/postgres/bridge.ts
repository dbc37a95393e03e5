/**
 * PostgreSQL for suites that talk to their database in the middle of a sentence: connections live in a thread, and a call is either
 * waited for (the tests' own SQL reads as it does on SQLite) or returns a promise (what the package gets).
 */
import { MessageChannel, receiveMessageOnPort, Worker, type MessagePort } from 'node:worker_threads';
import type { Ask, Told } from './worker.ts';

const SOURCES = new URL('../../../../cli/bin/sources.js', import.meta.url).href;
const WAIT_MS = 30_000;

export type Question = Pick<Ask, 'connection' | 'what' | 'sql'> & Partial<Pick<Ask, 'parameters' | 'nowMs' | 'numbers'>>;

export class Bridge {
  readonly #blocking: MessagePort;
  readonly #free: MessagePort;
  readonly #waiting = new Map<number, (told: Told) => void>();
  #made = 0;

  constructor() {
    const [blocking, free] = [new MessageChannel(), new MessageChannel()];
    this.#blocking = blocking.port1;
    this.#free = free.port1;
    const ports = { blocking: blocking.port2, free: free.port2 };
    const worker = new Worker(new URL('./worker.ts', import.meta.url), {
      execArgv: ['--import', SOURCES],
      workerData: ports,
      transferList: Object.values(ports),
    });
    worker.on('error', (error) => {
      throw error;
    });
    worker.unref();
    this.#free.on('message', (told: Told) => {
      this.#waiting.get(told.id)?.(told);
      this.#waiting.delete(told.id);
      if (this.#waiting.size === 0) this.#free.unref();
    });
    this.#free.unref();
  }

  /** Statements asked for by {@link later} that have not been answered. */
  get inFlight(): number {
    return this.#waiting.size;
  }

  /** Blocks this thread until the answer is there. Throws what the database threw. */
  now(question: Question): Told {
    const signal = new Int32Array(new SharedArrayBuffer(4));
    this.#blocking.postMessage(this.#ask(question, signal));
    if (Atomics.wait(signal, 0, 0, WAIT_MS) === 'timed-out') throw new Error(`no answer within ${WAIT_MS} ms: ${question.sql}`);
    return told((receiveMessageOnPort(this.#blocking) as { message: Told }).message);
  }

  async later(question: Question): Promise<Told> {
    const ask = this.#ask(question, undefined);
    const answered = new Promise<Told>((resolve) => this.#waiting.set(ask.id, resolve));
    this.#free.ref();
    this.#free.postMessage(ask);
    return told(await answered);
  }

  #ask(question: Question, signal: Int32Array | undefined): Ask {
    return { parameters: [], nowMs: undefined, numbers: false, ...question, id: ++this.#made, signal };
  }
}

function told(answer: Told): Told {
  if (answer.error === undefined) return answer;
  throw Object.assign(new Error(answer.error.message), { code: answer.error.code, status: answer.status });
}
