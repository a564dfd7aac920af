import { describe, expect, test } from 'vitest';
import { epochOf, instanceId, nodeId } from '../../../base/brands.ts';
import { PhxError } from '../../../base/errors.ts';
import { Prng } from '../../../base/prng.ts';
import { changesMembers, changesVoters, decodeValue, encodeValue } from '../../../binlogsvr/value-codec.ts';
import type { LogValue } from '../../../binlogsvr/values.ts';

const big = Number.MAX_SAFE_INTEGER;
const address = { host: 'db-4.example', rpc: 17000 };
const values: readonly LogValue[] = [
  { kind: 'noop' },
  { kind: 'baseline', node: nodeId(1), gtidSet: '', members: [] },
  {
    kind: 'baseline',
    node: nodeId(255),
    gtidSet: 'aaaaaaaa-0000-0000-0000-000000000001:1-5:7',
    members: [
      { node: nodeId(1), storeId: 'a' },
      { node: nodeId(2), storeId: 'ü' },
    ],
  },
  { kind: 'append', epoch: epochOf(0), follows: 0, items: [] },
  {
    kind: 'append',
    epoch: epochOf(big),
    follows: big,
    items: [
      { kind: 'file', name: 'binlog.000001', formatDescription: Uint8Array.of(0xef, 0, 1) },
      { kind: 'part', gtid: 'u:1', first: true, last: false, crc: 0, events: new Uint8Array() },
      { kind: 'part', gtid: 'u:1', first: false, last: true, crc: 0xffffffff, events: new Uint8Array(300).fill(7) },
    ],
  },
  { kind: 'elect', node: nodeId(2), basedOnEpoch: epochOf(0), executedUpTo: instanceId(0) },
  { kind: 'elect', node: nodeId(2), basedOnEpoch: epochOf(6), executedUpTo: instanceId(big) },
  { kind: 'renew', epoch: epochOf(3), renewal: 4 },
  { kind: 'renew', epoch: epochOf(3), renewal: 4, incarnation: 2 ** 31 },
  { kind: 'elect', node: nodeId(2), basedOnEpoch: epochOf(6), executedUpTo: instanceId(5), incarnation: 1 },
  { kind: 'fence', epoch: epochOf(3), basedOnRenewal: 0, by: nodeId(1), release: false },
  { kind: 'fence', epoch: epochOf(3), basedOnRenewal: 9, by: nodeId(3), release: true },
  { kind: 'transfer', epoch: epochOf(3), to: nodeId(2), executedUpTo: instanceId(12) },
  { kind: 'replaceStore', node: nodeId(2), oldStoreId: 'old', newStoreId: 'new', configVersion: 3 },
  { kind: 'addMember', member: { node: nodeId(4), storeId: 's', address }, configVersion: 1 },
  { kind: 'addMember', member: { node: nodeId(4), storeId: 's', kind: 'witness', address }, configVersion: 1 },
  { kind: 'addMember', member: { node: nodeId(4), storeId: 's', election: 'prefer', address }, configVersion: big },
  { kind: 'addLearner', member: { node: nodeId(4), storeId: 's', kind: 'learner', address }, configVersion: 2 },
  { kind: 'removeMember', node: nodeId(3), configVersion: 0 },
  {
    kind: 'replaceMember',
    node: nodeId(3),
    member: { node: nodeId(4), storeId: 's', election: 'never', address },
    configVersion: 9,
  },
  { kind: 'setElection', node: nodeId(3), election: 'neutral', configVersion: 9 },
  { kind: 'setElection', node: nodeId(3), election: 'never', configVersion: 9 },
];
const VOTERS = ['replaceStore', 'addMember', 'removeMember', 'replaceMember'];
const MEMBERS = [...VOTERS, 'baseline', 'addLearner', 'setElection'];

/** The value, or the error's code; anything thrown that is no PhxError is a fault of the codec. */
function outcome(bytes: Uint8Array): LogValue | string {
  try {
    return decodeValue(bytes);
  } catch (error) {
    if (error instanceof PhxError) return error.code;
    throw error;
  }
}

describe('every value survives the way through bytes', () => {
  test.each(values.map((value) => [value.kind, value] as const))('%s', (_, value) => {
    const before = structuredClone(value);
    const bytes = encodeValue(value);
    expect(decodeValue(bytes)).toEqual(value);
    expect(decodeValue(Buffer.from(bytes))).toEqual(value);
    expect(value).toEqual(before);
    expect(encodeValue(decodeValue(bytes))).toEqual(bytes);
  });

  test('the bytes of each kind are for ever', () => {
    const hex = (value: LogValue): string => Buffer.from(encodeValue(value)).toString('hex');
    expect(hex({ kind: 'noop' })).toBe('0a00');
    expect(hex({ kind: 'renew', epoch: epochOf(3), renewal: 4 })).toBe('2a12090000000000000840110000000000001040');
    expect(hex(values.find(({ kind }) => kind === 'replaceStore') as LogValue)).toBe(
      '4215080212036f6c641a036e6577210000000000000840',
    );
  });

  test('events are views into the bytes, not copies', () => {
    const bytes = encodeValue(values[4] as LogValue);
    const decoded = decodeValue(bytes);
    const part = decoded.kind === 'append' ? decoded.items[2] : undefined;
    expect(part?.kind === 'part' && part.events.buffer === bytes.buffer).toBe(true);
  });
});

describe('what encodeValue cannot have written is STORE_CORRUPT', () => {
  test.each<[string, Uint8Array]>([
    ['nothing', new Uint8Array()],
    ['an unknown value', Buffer.from('7a00', 'hex')],
    ['a length beyond the end', Buffer.from('1aff01', 'hex')],
    ['an item of no kind', Buffer.from('1a021a00', 'hex')],
    ['a fraction as epoch', Buffer.from('2a12090000000000000440110000000000001040', 'hex')],
    ['a negative epoch', Buffer.from('2a120900000000000008c0110000000000001040', 'hex')],
    ['NaN as renewal', Buffer.from('2a1209000000000000084011000000000000f87f', 'hex')],
  ])('%s', (_, bytes) => {
    expect(outcome(bytes)).toBe('STORE_CORRUPT');
  });

  test('cut or changed anywhere: a value or STORE_CORRUPT, never another error', () => {
    const rng = new Prng(7);
    for (const value of values) {
      const bytes = encodeValue(value);
      for (let end = 0; end < bytes.length; end += 1) outcome(bytes.subarray(0, end));
      for (let i = 0; i < 200; i += 1) {
        const mutated = Uint8Array.from(bytes);
        if (mutated.length > 0) mutated[rng.below(mutated.length)] = rng.below(256);
        outcome(mutated);
      }
    }
    for (let i = 0; i < 500; i += 1) outcome(rng.bytes(rng.below(40)));
  });
});

test('values that may change the voters are known by their first byte', () => {
  for (const value of values) expect(changesVoters(encodeValue(value))).toBe(VOTERS.includes(value.kind));
  for (const value of values) expect(changesMembers(encodeValue(value))).toBe(MEMBERS.includes(value.kind));
  expect(changesVoters(new Uint8Array())).toBe(false);
});

test('bytes of a log from before members had a kind, a rule and an address read and write as they were', () => {
  const written = Buffer.from('1214080112001a060801120273311a06080212027332', 'hex');
  const members = [1, 2].map((n) => ({ node: nodeId(n), storeId: `s${n}` }));
  const value: LogValue = { kind: 'baseline', node: nodeId(1), gtidSet: '', members };
  expect(decodeValue(written)).toEqual(value);
  expect(Buffer.from(encodeValue(value))).toEqual(written);
});

test.each(['4a040a021807', '4a040a022007', '4a00'])('a member of no known kind, or none: %s', (hex) => {
  expect(outcome(Buffer.from(hex, 'hex'))).toBe('STORE_CORRUPT');
});
