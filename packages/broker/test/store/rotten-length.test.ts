import { expect, it } from 'vitest';
import { GROUP_HEADER_BYTES, groupBytes, isCutGroup, isWholeButForLength, sealGroup } from '../../src/store/group-header.ts';

const HEADER = { previousCrc: 7, position: 4096, durableUpTo: 0, sequence: 3, epoch: 1, records: 1, flags: 0 };

function group(recordBytes: number): Buffer {
  const bytes = Buffer.alloc(groupBytes(recordBytes), 0x41);
  sealGroup(bytes, 0, GROUP_HEADER_BYTES + recordBytes, HEADER);
  return bytes;
}

it('a whole group whose length alone has rotted does not pass for one that was cut off', () => {
  const rotten = group(300);
  rotten[5]! ^= 0x10;
  expect(isCutGroup(rotten, rotten.length, 8_388_608, 4096, 7, 3)).toBe(true);
  expect(isWholeButForLength(rotten)).toBe(true);
});

it('a group that was cut off at any byte is not taken for a whole one', () => {
  const whole = group(300);
  for (let length = 1; length < whole.length; length++) expect(isWholeButForLength(whole.subarray(0, length))).toBe(false);
});
