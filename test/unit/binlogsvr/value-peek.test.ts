import { expect, test } from 'vitest';
import { epochOf, instanceId, nodeId } from '../../../base/brands.ts';
import { decodeValue, encodeValue } from '../../../binlogsvr/value-codec.ts';
import { peekLeaseKey, wrapAppend } from '../../../binlogsvr/value-peek.ts';
import type { LogValue } from '../../../binlogsvr/values.ts';
import { appendOf } from './replica-world.ts';

test('lease values are recognised, bulk and others are not', () => {
  const values: [LogValue, unknown][] = [
    [
      { kind: 'elect', node: nodeId(1), basedOnEpoch: epochOf(4), executedUpTo: instanceId(3) },
      { epoch: 5, renewal: 0, incarnation: 0 },
    ],
    [
      { kind: 'renew', epoch: epochOf(4), renewal: 9, incarnation: 2 ** 31 },
      { epoch: 4, renewal: 9, incarnation: 2 ** 31 },
    ],
    [
      { kind: 'transfer', epoch: epochOf(4), to: nodeId(2), executedUpTo: instanceId(3) },
      { epoch: 5, renewal: 0, incarnation: 0 },
    ],
    [{ kind: 'noop' }, null],
    [{ kind: 'fence', epoch: epochOf(4), basedOnRenewal: 1, by: nodeId(1), release: true }, null],
    [appendOf(epochOf(4), 0, 1), null],
  ];
  for (const [value, key] of values) expect(peekLeaseKey(encodeValue(value))).toEqual(key);
});

test.each([0, 1, 100, 127, 128, 20_000, 3_000_000])('an encoded append of %i bytes is wrapped as a value', (bytes) => {
  const value = appendOf(epochOf(4), 17, 1, bytes);
  const whole = encodeValue(value);
  let head = 1;
  while ((whole[head] as number) >= 0x80) head += 1;
  expect(Buffer.compare(wrapAppend(whole.subarray(head + 1)), whole)).toBe(0);
  expect(decodeValue(whole).kind).toBe('append');
});
