import { parseHost } from '@tallystick/remoting';
import { ControlType } from './store/control-records.ts';
import type { RecordView } from './store/record-view.ts';
import type { Derived } from './store/store-types.ts';

/** Who this broker is: in routes, in message ids, in every record. */
export interface Identity {
  readonly brokerName: string;
  readonly clusterName: string;
  /** ip:port that clients are told. */
  readonly address: string;
  /** The same as record bytes. */
  readonly host: Buffer;
}

export function identity(options: {
  readonly brokerName: string;
  readonly clusterName: string;
  readonly advertise: string;
}): Identity {
  return {
    brokerName: options.brokerName,
    clusterName: options.clusterName,
    address: options.advertise,
    host: parseHost(options.advertise) ?? LOCAL_HOST,
  };
}

/** What is no address, such as the name of an in-memory connection, is this machine. */
export const LOCAL_HOST = Buffer.from([127, 0, 0, 1, 0, 0, 0, 0]);

export type Names = Pick<Identity, 'brokerName' | 'clusterName'>;

/**
 * The names a store was begun under. Clients and message ids know a broker by its name, so a store is never opened under another
 * one. A control record of the topics' type whose JSON is `{"identity":{"brokerName":…,"clusterName":…}}`.
 */
export class StoredIdentity implements Derived {
  readonly name = 'identity';
  readonly records = 'control';
  names: Names | undefined;

  apply(record: RecordView): void {
    if (record.controlType !== ControlType.TOPICS) return;
    this.names = identityOf(JSON.parse(record.body.toString('utf8'))) ?? this.names;
  }

  snapshot(): Uint8Array {
    return Buffer.from(JSON.stringify({ identity: this.names ?? null }), 'utf8');
  }

  restore(bytes: Uint8Array): void {
    this.names = identityOf(JSON.parse(Buffer.from(bytes).toString('utf8')));
  }
}

export function identityBody({ brokerName, clusterName }: Names): Uint8Array {
  return Buffer.from(JSON.stringify({ identity: { brokerName, clusterName } }), 'utf8');
}

/** The names in a control record's JSON; undefined when it is about something else. */
export function identityOf(json: unknown): Names | undefined {
  const names = (json as { readonly identity?: { readonly brokerName?: unknown; readonly clusterName?: unknown } | null } | null)
    ?.identity;
  return typeof names?.brokerName === 'string' && typeof names.clusterName === 'string'
    ? { brokerName: names.brokerName, clusterName: names.clusterName }
    : undefined;
}
