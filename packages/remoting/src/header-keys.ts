import { NameIndex } from './name-index.ts';

/** Keys of a JSON header, by slot. */
export const HEADER_KEYS = ['code', 'flag', 'opaque', 'version', 'language', 'remark', 'extFields'] as const;
export const CODE = 0;
export const FLAG = 1;
export const OPAQUE = 2;
export const VERSION = 3;
export const LANGUAGE = 4;
export const REMARK = 5;
export const EXT_FIELDS = 6;

/** Finds the slot of a key in bytes. */
export const headerKeys = new NameIndex(HEADER_KEYS);
