/**
 * Fields of headers. A command's request and answer are tables of fields; header types, both codecs, locators and the protocol
 * page derive from them. On the wire every value is text.
 */

/** `i32` and `i64` are decimal integers (Numbers here), `flag` is "true" in any case or else false. */
export type FieldKind = 'text' | 'i32' | 'i64' | 'flag';

export interface Field<K extends FieldKind = FieldKind, M extends boolean = boolean> {
  readonly kind: K;
  /** RocketMQ's side cannot do without it. A request of ours that lacks it is a fault; one of theirs is answered with an error. */
  readonly must: M;
  readonly sentence: string;
  /** Name on the wire when it is not the field's own (the short send header). */
  readonly wire: string | undefined;
}

export type FieldTable = Readonly<Record<string, Field>>;

export function must<K extends FieldKind>(kind: K, sentence: string, wire?: string): Field<K, true> {
  return { kind, must: true, sentence, wire };
}

export function may<K extends FieldKind>(kind: K, sentence: string, wire?: string): Field<K, false> {
  return { kind, must: false, sentence, wire };
}

type ValueOf<K extends FieldKind> = K extends 'text' ? string : K extends 'flag' ? boolean : number;

/** The object a field table describes: mandatory fields present, the others perhaps undefined. */
export type HeaderOf<T extends FieldTable> = {
  [N in keyof T as T[N]['must'] extends true ? N : never]: ValueOf<T[N]['kind']>;
} & { [N in keyof T as T[N]['must'] extends true ? never : N]?: ValueOf<T[N]['kind']> | undefined };
