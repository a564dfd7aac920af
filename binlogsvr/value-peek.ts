import { leaseKeyOf } from './lease-clock.ts';
import { decodeValue } from './value-codec.ts';

/** First byte of an encoded phxsql.log.Value: field number of the one body, wire type 2. See proto/log-value.proto. */
const TAG = { append: 0x1a, elect: 0x22, renew: 0x2a, transfer: 0x3a } as const;
const LEASE_TAGS: ReadonlySet<number | undefined> = new Set([TAG.elect, TAG.renew, TAG.transfer]);
/** No lease value is longer. */
const LEASE_VALUE_BYTES_MAX = 256;

/** The lease a value would grant, without decoding bulk; null if it is no such value. */
export function peekLeaseKey(value: Uint8Array): ReturnType<typeof leaseKeyOf> {
  if (!LEASE_TAGS.has(value[0]) || value.length > LEASE_VALUE_BYTES_MAX) return null;
  return leaseKeyOf(decodeValue(value));
}

/** An encoded phxsql.log.Append as the encoded phxsql.log.Value that holds it. */
export function wrapAppend(append: Uint8Array): Uint8Array {
  const head: number[] = [TAG.append];
  let rest = append.length;
  while (rest >= 0x80) {
    head.push((rest % 0x80) | 0x80);
    rest = Math.floor(rest / 0x80);
  }
  head.push(rest);
  return Buffer.concat([Buffer.from(head), append]);
}
