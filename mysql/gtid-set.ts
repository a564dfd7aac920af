import { PhxError } from '../base/errors.ts';
import { ByteReader } from './byte-reader.ts';
import {
  excerpt,
  GNO_MAX,
  type Gtid,
  isTag,
  isUuid,
  parseGno,
  parseGtid,
  sidOf,
  TAG_LENGTH_MAX,
  uuidFromBytes,
  uuidToBytes,
} from './gtid.ts';
import type { Intervals } from './intervals.ts';
import * as intervals from './intervals.ts';
import { u64le } from './lenenc.ts';

/** First byte (and eighth) of the encoding that can carry tags, MySQL 8.3+. */
const FORMAT_TAGGED = 1;
const UUID_BYTES = 16;
const UUID_TEXT_BYTES = 36;

/**
 * An immutable set of GTIDs, as `@@gtid_executed` is one. Sets share what they have in common, so keeping many
 * successive ones is cheap. Keyed by `uuid` or `uuid:tag`, kept in MySQL's order (by uuid, untagged first, then by tag).
 */
export class GtidSet {
  static readonly EMPTY: GtidSet = new GtidSet(new Map());

  readonly #bySid: ReadonlyMap<string, Intervals>;

  /** `bySid` is in order and holds no empty intervals. */
  private constructor(bySid: ReadonlyMap<string, Intervals>) {
    this.#bySid = bySid;
  }

  /**
   * `uuid:1-5:7,uuid:tag:1:othertag:2-3`, blanks and line ends anywhere between the fields, either case; '' is the
   * empty set. Throws GTID_INVALID naming the part it could not read.
   */
  static parse(text: string): GtidSet {
    const pairs = new Map<string, number[]>();
    for (const item of text.toLowerCase().split(',')) {
      if (item.trim() !== '') parseItem(item, pairs);
    }
    return fromPairs(pairs, (sorted) => new GtidSet(sorted));
  }

  static of(...gtids: readonly (Gtid | string)[]): GtidSet {
    return gtids.reduce<GtidSet>((set, gtid) => set.add(gtid), GtidSet.EMPTY);
  }

  /**
   * Reads the encoding of COM_BINLOG_DUMP_GTID and of the previous-GTIDs event:
   *   untagged: sid count u64 (top byte 0) | (uuid 16 | interval count u64 | (first u64 | end u64, exclusive)*)*
   *   tagged:   01 | sid count u48 | 01    | (uuid 16 | tag length * 2 u8 | tag | interval count u64 | ...)*
   */
  static decode(bytes: Uint8Array): GtidSet {
    const reader = new ByteReader(bytes, 'gtid set', 'GTID_INVALID');
    const head = reader.u64big();
    const format = Number(head >> 56n);
    if (format !== 0 && format !== FORMAT_TAGGED) throw reader.bad(`unknown format ${format}`);
    const sidCount = format === FORMAT_TAGGED ? (head >> 8n) & 0xffff_ffff_ffffn : head;
    const pairs = new Map<string, number[]>();
    for (let i = 0n; i < sidCount; i += 1n) {
      const uuid = uuidFromBytes(reader.bytes(UUID_BYTES));
      let tag = '';
      if (format === FORMAT_TAGGED) {
        const length = reader.varlenNumber();
        if (length > TAG_LENGTH_MAX) throw reader.bad(`a tag of ${length} characters`);
        tag = reader.bytes(length).toString('latin1').toLowerCase();
        if (tag !== '' && !isTag(tag)) throw reader.bad(`'${tag}' is no tag`);
      }
      const list = listOf(pairs, sidOf({ uuid, tag }));
      const count = reader.u64big();
      let previous = 0;
      for (let n = 0n; n < count; n += 1n) {
        const first = reader.u64();
        const end = reader.u64big();
        const last = Number(end) - 1;
        if (first <= previous || last < first) throw reader.bad(`interval ${first} to ${end} after ${previous}`);
        if (last > GNO_MAX) throw reader.bad(`transaction number ${end - 1n} is above 2^53 - 1`);
        list.push(first, last);
        previous = last + 1;
      }
    }
    if (reader.remaining > 0) throw reader.bad(`${reader.remaining} bytes too many`);
    return fromPairs(pairs, (sorted) => new GtidSet(sorted));
  }

  /** See decode; untagged unless a tag is present, as MySQL does, so that older servers can read it. */
  encode(): Buffer {
    const tagged = [...this.#bySid.keys()].some((sid) => sid.length > UUID_TEXT_BYTES);
    const count = BigInt(this.#bySid.size);
    const format = BigInt(FORMAT_TAGGED);
    const parts: Buffer[] = [u64le(tagged ? (format << 56n) | (count << 8n) | format : count)];
    for (const [sid, list] of this.#bySid) {
      parts.push(uuidToBytes(sid.slice(0, UUID_TEXT_BYTES)));
      if (tagged) {
        const tag = sid.slice(UUID_TEXT_BYTES + 1);
        parts.push(Buffer.from([tag.length << 1]), Buffer.from(tag, 'latin1'));
      }
      const body = Buffer.alloc(8 + list.length * 8);
      body.writeBigUInt64LE(BigInt(list.length / 2));
      list.forEach((value, i) => {
        body.writeBigUInt64LE(BigInt(value) + BigInt(i % 2), 8 + i * 8);
      });
      parts.push(body);
    }
    return Buffer.concat(parts);
  }

  /** As MySQL prints it, without the line end it puts after each comma. */
  toString(): string {
    let out = '';
    let lastUuid = '';
    for (const [sid, list] of this.#bySid) {
      const uuid = sid.slice(0, UUID_TEXT_BYTES);
      if (uuid !== lastUuid) out += out === '' ? uuid : `,${uuid}`;
      out += sid.slice(UUID_TEXT_BYTES);
      lastUuid = uuid;
      for (let i = 0; i < list.length; i += 2) {
        out += list[i] === list[i + 1] ? `:${list[i]}` : `:${list[i]}-${list[i + 1]}`;
      }
    }
    return out;
  }

  get isEmpty(): boolean {
    return this.#bySid.size === 0;
  }

  /** How many transactions. */
  count(): number {
    let total = 0;
    for (const list of this.#bySid.values()) total += intervals.count(list);
    return total;
  }

  /** The `uuid` and `uuid:tag` prefixes present, in order. */
  sids(): readonly string[] {
    return [...this.#bySid.keys()];
  }

  /** The intervals under one prefix, flat: [first, last, ...]. */
  intervalsOf(sid: string): Intervals {
    return this.#bySid.get(sid) ?? [];
  }

  contains(gtid: Gtid | string): boolean {
    const { uuid, tag, gno } = typeof gtid === 'string' ? parseGtid(gtid) : gtid;
    return this.has(sidOf({ uuid, tag }), gno);
  }

  /** contains() for who already has the prefix. */
  has(sid: string, gno: number): boolean {
    const list = this.#bySid.get(sid);
    return list !== undefined && intervals.has(list, gno);
  }

  /** Costs the intervals of that prefix plus the number of prefixes. */
  add(gtid: Gtid | string): GtidSet {
    const value = typeof gtid === 'string' ? parseGtid(gtid) : gtid;
    const sid = sidOf(value);
    const list = this.#bySid.get(sid);
    if (list === undefined) return new GtidSet(inOrder(new Map(this.#bySid).set(sid, [value.gno, value.gno])));
    const grown = intervals.add(list, value.gno);
    return grown === list ? this : new GtidSet(new Map(this.#bySid).set(sid, grown));
  }

  union(other: GtidSet): GtidSet {
    if (other.#bySid.size === 0 || other === this) return this;
    const merged = new Map(this.#bySid);
    let newSid = false;
    for (const [sid, theirs] of other.#bySid) {
      const ours = merged.get(sid);
      newSid ||= ours === undefined;
      merged.set(sid, ours === undefined ? theirs : intervals.union(ours, theirs));
    }
    return new GtidSet(newSid ? inOrder(merged) : merged);
  }

  subtract(other: GtidSet): GtidSet {
    return this.#combine((sid, ours) => {
      const theirs = other.#bySid.get(sid);
      return theirs === undefined ? ours : intervals.subtract(ours, theirs);
    });
  }

  intersect(other: GtidSet): GtidSet {
    return this.#combine((sid, ours) => intervals.intersect(ours, other.#bySid.get(sid) ?? []));
  }

  isSubsetOf(other: GtidSet): boolean {
    for (const [sid, list] of this.#bySid) {
      if (!intervals.isSubset(list, other.#bySid.get(sid) ?? [])) return false;
    }
    return true;
  }

  equals(other: GtidSet): boolean {
    if (this.#bySid.size !== other.#bySid.size) return false;
    for (const [sid, list] of this.#bySid) {
      const theirs = other.#bySid.get(sid);
      if (theirs === undefined || !intervals.equals(list, theirs)) return false;
    }
    return true;
  }

  #combine(pick: (sid: string, ours: Intervals) => Intervals): GtidSet {
    const out = new Map<string, Intervals>();
    for (const [sid, list] of this.#bySid) {
      const picked = pick(sid, list);
      if (picked.length > 0) out.set(sid, picked);
    }
    return new GtidSet(out);
  }
}

/** One comma-separated item: `uuid(:tag|:n|:n-m)+`; a tag holds for the intervals after it. */
function parseItem(item: string, pairs: Map<string, number[]>): void {
  const bad = (why: string): PhxError =>
    new PhxError('GTID_INVALID', `parse gtid set: '${excerpt(item.trim())}': ${why}`);
  const fields = item.split(':').map((field) => field.trim());
  const uuid = fields[0]!;
  if (!isUuid(uuid)) throw bad(`'${excerpt(uuid)}' is no uuid`);
  let tag = '';
  let list: number[] | null = null;
  for (const field of fields.slice(1)) {
    if (isTag(field)) {
      if (tag !== '' && list === null) throw bad(`nothing follows tag '${tag}'`);
      tag = field;
      list = null;
      continue;
    }
    const bounds = field.split('-').map((bound) => bound.trim());
    if (bounds.length > 2) throw bad(`'${excerpt(field)}' is no interval`);
    const first = parseGno(bounds[0]!);
    const last = bounds.length === 2 ? parseGno(bounds[1]!) : first;
    if (last < first) throw bad(`interval ${field} runs backwards`);
    list ??= listOf(pairs, sidOf({ uuid, tag }));
    list.push(first, last);
  }
  if (list === null) throw bad('it ends without a transaction number');
}

function listOf(pairs: Map<string, number[]>, sid: string): number[] {
  let list = pairs.get(sid);
  if (list === undefined) {
    list = [];
    pairs.set(sid, list);
  }
  return list;
}

function inOrder(bySid: ReadonlyMap<string, Intervals>): ReadonlyMap<string, Intervals> {
  return new Map([...bySid].sort(([a], [b]) => (a < b ? -1 : 1)));
}

function fromPairs(
  pairs: ReadonlyMap<string, Intervals>,
  make: (sorted: ReadonlyMap<string, Intervals>) => GtidSet,
): GtidSet {
  const merged = new Map<string, Intervals>();
  for (const [sid, list] of pairs) if (list.length > 0) merged.set(sid, intervals.normalise(list));
  return make(inOrder(merged));
}
