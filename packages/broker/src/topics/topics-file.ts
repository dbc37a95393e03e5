import { attempt, call, run, type Disk, type DiskFile, type Steps } from '@tallystick/base';
import { topicFromJson, type TopicConfig } from './topic.ts';

/**
 * `config/topics.json`, the topics in RocketMQ's shape, for people and tools. The log is the truth: this file is rewritten after
 * each change (temporary name, sync, rename, folder sync), at most one writing at a time, and read only by a new store, which
 * is how topics move in from a RocketMQ broker. A failed export is counted, never an error of the broker.
 */
export class TopicsFile {
  readonly #disk: Disk;
  readonly #json: () => unknown;
  #writing = false;
  #again = false;
  failures = 0;

  constructor(disk: Disk, json: () => unknown) {
    this.#disk = disk;
    this.#json = json;
  }

  /** Something changed. */
  export(): void {
    if (this.#writing) {
      this.#again = true;
      return;
    }
    this.#writing = true;
    this.#again = false;
    const text = JSON.stringify(this.#json(), undefined, 2);
    run(
      () => writeWhole(this.#disk, FOLDER, FILE, Buffer.from(`${text}\n`, 'utf8')),
      (error) => {
        this.#writing = false;
        if (error !== undefined) this.failures++;
        if (this.#again) this.export();
      },
    );
  }

  /** Topics of a file that somebody put there; empty when there is none. `done` gets an error when it cannot be understood. */
  import(done: (error: Error | undefined, topics: readonly TopicConfig[]) => void): void {
    const disk = this.#disk;
    run(function* () {
      const bytes = yield* readWhole(disk, `${FOLDER}/${FILE}`);
      return bytes === undefined ? [] : topicsOf(bytes);
    }, done);
  }
}

const FOLDER = 'config';
const FILE = 'topics.json';
const FILE_BYTES_MAX = 64 * 1024 * 1024;

function topicsOf(bytes: Buffer): TopicConfig[] {
  const file = JSON.parse(bytes.toString('utf8')) as { readonly topicConfigTable?: unknown } | null;
  const table = file?.topicConfigTable;
  if (typeof table !== 'object' || table === null) throw new Error(`${FOLDER}/${FILE}: topicConfigTable is missing`);
  return Object.values(table).map((json) => {
    const config = topicFromJson(json);
    if (config === undefined) throw new Error(`${FOLDER}/${FILE}: an entry has no topicName`);
    return config;
  });
}

function* writeWhole(disk: Disk, folder: string, file: string, bytes: Buffer): Steps<void> {
  const temporary = `${folder}/${file}.tmp`;
  yield* call((done) => disk.makeFolder(folder, done));
  const handle = yield* call<DiskFile>((done) => disk.open(temporary, 'create', done));
  yield* call((done) => handle.write([bytes], 0, done));
  yield* call((done) => handle.sync(done));
  yield* call((done) => handle.close(done));
  yield* call((done) => disk.rename(temporary, `${folder}/${file}`, done));
  yield* call((done) => disk.syncFolder(folder, done));
}

function* readWhole(disk: Disk, path: string): Steps<Buffer | undefined> {
  const opened = yield* attempt<DiskFile, { readonly code: string; readonly message: string }>((done) =>
    disk.open(path, 'open', done),
  );
  if (opened.error?.code === 'ENOENT') return undefined;
  if (opened.error !== undefined) throw new Error(`${path}: ${opened.error.message}`);
  const size = yield* call<number>((done) => opened.value.size(done));
  if (size > FILE_BYTES_MAX) throw new Error(`${path}: ${size} bytes`);
  const bytes = Buffer.alloc(size);
  if (size > 0) yield* call<number>((done) => opened.value.read(bytes, 0, done));
  yield* call((done) => opened.value.close(done));
  return bytes;
}
