/**
 * What a failed disk call means to the store and to the person who reads of it: whether it passes by itself, and what to do when it
 * does not.
 */
export interface DiskTrouble {
  readonly message: string;
  /** The errno's name. */
  readonly code?: unknown;
}

/** The process, or the machine, has too many files open: a state that passes. */
export function isShortOfFiles({ code }: DiskTrouble): boolean {
  return code === 'EMFILE' || code === 'ENFILE';
}

/** The trouble as an error that says what it was met at. */
export function troubleAt(place: string, { message, code }: DiskTrouble): Error {
  return Object.assign(new Error(`${place}: ${message}`), { code });
}

/** The sentence of the trouble with what to do next, and what after that, if it is the disk's. */
export function withNextStep(trouble: DiskTrouble, last = ''): string {
  if (typeof trouble.code !== 'string') return trouble.message;
  return `${trouble.message}; ${nextStep(trouble)}${last}`;
}

function nextStep(trouble: DiskTrouble): string {
  if (isShortOfFiles(trouble)) return 'the process may open too few files (ulimit -n): let it open more';
  if (trouble.code === 'EACCES' || trouble.code === 'EPERM' || trouble.code === 'EROFS')
    return 'give its user the right to read and write there';
  if (trouble.code === 'ENOSPC' || trouble.code === 'EDQUOT') return 'make room on the disk';
  return 'check the disk';
}
