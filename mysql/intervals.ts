/**
 * A set of whole numbers as sorted, disjoint, non-adjacent closed intervals, flat: [first, last, first, last, ...].
 * All functions leave their operands unchanged and may return one of them.
 */
export type Intervals = readonly number[];

/** Index (even) of the first interval whose last number is >= n, or the length. */
function seek(intervals: Intervals, n: number): number {
  let low = 0;
  let high = intervals.length / 2;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (intervals[middle * 2 + 1]! < n) low = middle + 1;
    else high = middle;
  }
  return low * 2;
}

export function has(intervals: Intervals, n: number): boolean {
  const at = seek(intervals, n);
  return at < intervals.length && intervals[at]! <= n;
}

export function add(intervals: Intervals, n: number): Intervals {
  const end = intervals.length;
  // The usual case: the successor of the newest.
  if (end > 0 && intervals[end - 1] === n - 1) {
    const grown = intervals.slice();
    grown[end - 1] = n;
    return grown;
  }
  const at = seek(intervals, n);
  if (at < end && intervals[at]! <= n) return intervals;
  const joinsBefore = at > 0 && intervals[at - 1] === n - 1;
  const joinsAfter = at < end && intervals[at] === n + 1;
  const grown = intervals.slice();
  if (joinsBefore && joinsAfter) grown.splice(at - 1, 2);
  else if (joinsBefore) grown[at - 1] = n;
  else if (joinsAfter) grown[at] = n;
  else grown.splice(at, 0, n, n);
  return grown;
}

/** Sorts and merges whatever was read: pairs in any order, overlapping or adjacent. */
export function normalise(pairs: Intervals): Intervals {
  let sorted = true;
  for (let i = 2; i < pairs.length; i += 2) if (pairs[i]! <= pairs[i - 1]! + 1) sorted = false;
  if (sorted) return pairs;
  const order: [number, number][] = [];
  for (let i = 0; i < pairs.length; i += 2) order.push([pairs[i]!, pairs[i + 1]!]);
  order.sort((a, b) => a[0] - b[0]);
  const out: number[] = [];
  for (const [first, last] of order) {
    const end = out.length - 1;
    if (end > 0 && first <= out[end]! + 1) out[end] = Math.max(out[end]!, last);
    else out.push(first, last);
  }
  return out;
}

export function union(a: Intervals, b: Intervals): Intervals {
  if (a.length === 0 || isSubset(a, b)) return b;
  if (b.length === 0 || isSubset(b, a)) return a;
  return normalise([...a, ...b]);
}

export function subtract(a: Intervals, b: Intervals): Intervals {
  const out: number[] = [];
  let j = 0;
  for (let i = 0; i < a.length; i += 2) {
    let first = a[i]!;
    const last = a[i + 1]!;
    while (j < b.length && b[j + 1]! < first) j += 2;
    let k = j;
    while (k < b.length && b[k]! <= last) {
      if (b[k]! > first) out.push(first, b[k]! - 1);
      first = b[k + 1]! + 1;
      k += 2;
    }
    if (first <= last) out.push(first, last);
  }
  return out;
}

export function intersect(a: Intervals, b: Intervals): Intervals {
  const out: number[] = [];
  let i = 0;
  let j = 0;
  while (i < a.length && j < b.length) {
    const first = Math.max(a[i]!, b[j]!);
    const last = Math.min(a[i + 1]!, b[j + 1]!);
    if (first <= last) out.push(first, last);
    if (a[i + 1]! < b[j + 1]!) i += 2;
    else j += 2;
  }
  return out;
}

export function isSubset(a: Intervals, b: Intervals): boolean {
  let j = 0;
  for (let i = 0; i < a.length; i += 2) {
    while (j < b.length && b[j + 1]! < a[i]!) j += 2;
    if (j >= b.length || b[j]! > a[i]! || b[j + 1]! < a[i + 1]!) return false;
  }
  return true;
}

export function equals(a: Intervals, b: Intervals): boolean {
  return a === b || (a.length === b.length && a.every((value, i) => value === b[i]));
}

export function count(intervals: Intervals): number {
  let total = 0;
  for (let i = 0; i < intervals.length; i += 2) total += intervals[i + 1]! - intervals[i]! + 1;
  return total;
}
