import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { formatGtid, GNO_MAX, parseGtid } from '../../../mysql/gtid.ts';
import { GtidSet } from '../../../mysql/gtid-set.ts';
import { expected, phxError, truncate } from './fixtures.ts';

const A = '0a000000-1111-2222-3333-444444444444';
const B = 'b0000000-1111-2222-3333-444444444444';
const runs = { numRuns: 400, seed: 7 };

describe('Gtid', () => {
  it('reads and writes', () => {
    expect(parseGtid(` ${A.toUpperCase()}:TAG_1:7 `)).toEqual({ uuid: A, tag: 'tag_1', gno: 7 });
    expect(formatGtid(parseGtid(`${A}:12`))).toBe(`${A}:12`);
    expect(formatGtid(parseGtid(`${A}:x:12`))).toBe(`${A}:x:12`);
    expect(parseGtid(`${A}:${GNO_MAX}`).gno).toBe(Number.MAX_SAFE_INTEGER);
  });

  it.each(['', A, `${A}:`, `${A}:0`, `${A}:01`, `${A}:-1`, `${A}:1-2`, `${A}:1x:1`, `${A}:x:y:1`, 'x:1', `${A}:1:1`])(
    "refuses '%s'",
    (text) => {
      expect(phxError(() => parseGtid(text)).code).toBe('GTID_INVALID');
    },
  );

  it('refuses numbers that are not exact here', () => {
    expect(phxError(() => parseGtid(`${A}:9007199254740992`)).message).toContain('above 2^53 - 1');
  });
});

describe('text form', () => {
  it.each([
    ['', ''],
    [' , \n', ''],
    [`${A}:1`, `${A}:1`],
    [`${A}:1-1`, `${A}:1`],
    [`${A}:5:1-3:4`, `${A}:1-5`],
    [`${A}:1-3,\n${A}:7`, `${A}:1-3:7`],
    [`${B}:1,${A}:1`, `${A}:1,${B}:1`],
    [`${A.toUpperCase()} : 1 - 3 : Tag : 2`, `${A}:1-3:tag:2`],
    [`${A}:tag:1-5:tag2:3`, `${A}:tag:1-5:tag2:3`],
    [`${A}:b:1:a:2:b:2,${A}:9`, `${A}:9:a:2:b:1-2`],
    [`${A}:1-${GNO_MAX}`, `${A}:1-9007199254740991`],
  ])('%j is %j', (text, canonical) => {
    const set = GtidSet.parse(text);
    expect(set.toString()).toBe(canonical);
    expect(GtidSet.parse(canonical).equals(set)).toBe(true);
    expect(GtidSet.decode(set.encode()).toString()).toBe(canonical);
  });

  it('is that of the server', () => {
    expect(GtidSet.parse(expected.gtidExecuted).toString()).toBe(expected.gtidExecuted.replaceAll('\n', ''));
  });

  it.each([
    [A, 'without a transaction number'],
    [`${A}:tag`, 'without a transaction number'],
    [`${A}:1:tag`, 'without a transaction number'],
    [`${A}:a:b:1`, "nothing follows tag 'a'"],
    [`${A}:`, "'' is no transaction number"],
    [`${A}:5-3`, 'interval 5-3 runs backwards'],
    [`${A}:0`, "'0' is no transaction number"],
    [`${A}:1-2-3`, "'1-2-3' is no interval"],
    [`${A}:1,zz:5`, "'zz' is no uuid"],
    [`${A}:${'t'.repeat(33)}:5`, 'is no transaction number'],
    [`${A}:9007199254740992`, 'number 9007199254740992 is above 2^53 - 1'],
  ])('%j is refused, naming the part', (text, reason) => {
    const error = phxError(() => GtidSet.parse(text));
    expect(error.code).toBe('GTID_INVALID');
    expect(error.message).toContain(reason);
  });
});

describe('binary form', () => {
  it('without tags is the classic one', () => {
    expect(GtidSet.parse(`${A}:1-3:5`).encode().toString('hex')).toBe(
      `0100000000000000${A.replaceAll('-', '')}0200000000000000` +
        '01000000000000000400000000000000' +
        '05000000000000000600000000000000',
    );
    expect(GtidSet.EMPTY.encode().toString('hex')).toBe('0000000000000000');
  });

  it('refuses every shortened and many a damaged form', () => {
    const bytes = GtidSet.parse(`${A}:1-3:5:tag:7,${B}:1`).encode();
    truncate(bytes, (short) => GtidSet.decode(short));
    for (let length = 0; length < bytes.length; length += 1) {
      expect(phxError(() => GtidSet.decode(bytes.subarray(0, length))).code).toBe('GTID_INVALID');
    }
    const other = Buffer.from(bytes);
    other[7] = 2;
    expect(phxError(() => GtidSet.decode(other)).message).toContain('unknown format 2');
    const more = Buffer.concat([bytes, Buffer.from([0])]);
    expect(phxError(() => GtidSet.decode(more)).message).toContain('1 bytes too many');
  });
});

/** The obvious twin: every GTID by itself, as text. */
type Naive = ReadonlySet<string>;
const SIDS = [A, `${A}:blue`, `${A}:red`, B] as const;
const gtids = fc.array(fc.tuple(fc.constantFrom(...SIDS), fc.integer({ min: 1, max: 30 })), { maxLength: 60 });
const naiveOf = (list: readonly (readonly [string, number])[]): Naive =>
  new Set(list.map(([sid, gno]) => `${sid}:${gno}`));
const setOf = (naive: Naive): GtidSet => GtidSet.of(...naive);
const listOf = (set: GtidSet): string[] =>
  set
    .sids()
    .flatMap((sid) => {
      const out: string[] = [];
      const list = set.intervalsOf(sid);
      for (let i = 0; i < list.length; i += 2)
        for (let gno = list[i]!; gno <= list[i + 1]!; gno += 1) out.push(`${sid}:${gno}`);
      return out;
    })
    .sort();
const sorted = (naive: Iterable<string>): string[] => [...naive].sort();

describe('beside a plain set of texts', () => {
  it('adds, counts, contains, prints and encodes', () => {
    fc.assert(
      fc.property(gtids, fc.constantFrom(...SIDS), fc.integer({ min: 1, max: 31 }), (list, sid, gno) => {
        const naive = naiveOf(list);
        const set = setOf(naive);
        expect(listOf(set)).toEqual(sorted(naive));
        expect(set.count()).toBe(naive.size);
        expect(set.isEmpty).toBe(naive.size === 0);
        expect(set.contains(`${sid}:${gno}`)).toBe(naive.has(`${sid}:${gno}`));
        expect(set.has(sid, gno)).toBe(naive.has(`${sid}:${gno}`));
        expect(GtidSet.parse(set.toString()).equals(set)).toBe(true);
        expect(GtidSet.decode(set.encode()).equals(set)).toBe(true);
        expect(set.sids()).toEqual([...set.sids()].sort());
      }),
      runs,
    );
  });

  it('combines', () => {
    fc.assert(
      fc.property(gtids, gtids, (left, right) => {
        const [a, b] = [naiveOf(left), naiveOf(right)];
        const [x, y] = [setOf(a), setOf(b)];
        const before = [x.toString(), y.toString()];
        expect(listOf(x.union(y))).toEqual(sorted(a.union(b)));
        expect(listOf(x.subtract(y))).toEqual(sorted(a.difference(b)));
        expect(listOf(x.intersect(y))).toEqual(sorted(a.intersection(b)));
        expect(x.isSubsetOf(y)).toBe(a.isSubsetOf(b));
        expect(x.isSubsetOf(x.union(y))).toBe(true);
        expect(x.equals(y)).toBe(a.symmetricDifference(b).size === 0);
        expect(x.union(y).equals(y.union(x))).toBe(true);
        expect(x.union(y).toString()).toBe(y.union(x).toString());
        expect([x.toString(), y.toString()], 'operands unchanged').toEqual(before);
      }),
      runs,
    );
  });

  it('reads any text form of the same set', () => {
    fc.assert(
      fc.property(gtids, (list) => {
        const text = list.map(([sid, gno]) => `${sid}:${gno}`).join(' ,\n');
        expect(listOf(GtidSet.parse(text))).toEqual(sorted(naiveOf(list)));
      }),
      runs,
    );
  });
});

it('adding a successor shares everything else and is cheap', () => {
  let set = GtidSet.parse(`${B}:${Array.from({ length: 2000 }, (_, i) => i * 2 + 1).join(':')},${A}:1`);
  const other = set.intervalsOf(B);
  const started = performance.now();
  for (let gno = 2; gno <= 100_000; gno += 1) set = set.add({ uuid: A, tag: '', gno });
  expect(performance.now() - started).toBeLessThan(2000);
  expect(set.intervalsOf(A)).toEqual([1, 100_000]);
  expect(set.intervalsOf(B)).toBe(other);
  expect(set.add(`${A}:5`)).toBe(set);
});
