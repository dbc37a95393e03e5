/** Defects that watch-disk.js builds into a broker, each of which the checker must catch. */
export const DEFECTS = [
  { name: 'ack-before-write', sentence: 'reports a write of the log at once and does it 20 ms later' },
  { name: 'drop-a-write', sentence: 'leaves out one write of the log in 7' },
] as const;
