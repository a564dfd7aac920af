import type { Prng } from '../../../base/prng.ts';
import type { DataChange, Journal, NameChange } from './journal.ts';

/** What of the changes no sync covered reaches the disk all the same: nothing, or whatever the kernel happened to write. */
export type Mercy = 'none' | 'some';

/** The kernel writes pages back, each by itself: a write of several may arrive in part. */
export const PAGE_BYTES = 4096;

/** A piece of a change that is on the disk after the power cut. */
export type Kept = Readonly<{ offset: number; length: number }>;

/** Of one file: its changes from the first that is not wholly on the disk, in order, with what of each is. */
export type FileLoss = Readonly<{
  ino: number;
  /** Its size before the first of `changes`. */
  sizeBefore: number;
  changes: readonly Readonly<{ change: DataChange; kept: 'all' | readonly Kept[] }>[];
}>;

export type Losses = Readonly<{
  files: readonly FileLoss[];
  /** Lost, newest first. */
  names: readonly NameChange[];
  counts: Readonly<{ changes: number; lost: number; torn: number; names: number }>;
}>;

/**
 * What a power cut takes away, now that all processes are dead.
 *
 *   data    on disk: ended before a sync of that file began. Else each page of it has its own chance ('some').
 *   names   on disk: ended before a sync of the folder began. The name a file was made or renamed with also comes with the next
 *           sync of the file itself, as on ext4, XFS and btrfs. Of the rest a folder keeps the first few ('some'): file
 *           systems keep their order.
 *
 * `mine`: does the change belong to what is cut?
 */
export function lossesOf(
  journal: Journal,
  mercy: Mercy,
  random: Prng,
  mine: Readonly<{ ino: (ino: number) => boolean; path: (path: string) => boolean }>,
): Losses {
  const counts = { changes: 0, lost: 0, torn: 0, names: 0 };
  const syncedBy = (ino: number, seq: number): boolean => {
    const end = journal.ended.get(seq);
    return end !== undefined && end <= (journal.synced.get(ino) ?? 0);
  };

  const byFile = new Map<number, DataChange[]>();
  for (const change of journal.data) {
    if (!mine.ino(change.ino)) continue;
    const list = byFile.get(change.ino) ?? [];
    list.push(change);
    byFile.set(change.ino, list);
  }
  const files: FileLoss[] = [];
  for (const [ino, changes] of byFile) {
    counts.changes += changes.length;
    const kept = changes.map((change): 'all' | readonly Kept[] => {
      if (syncedBy(ino, change.seq)) return 'all';
      const pieces = mercy === 'none' ? [] : survivors(change, random);
      if (pieces !== 'all') counts[pieces.length === 0 ? 'lost' : 'torn'] += 1;
      return pieces;
    });
    const first = kept.findIndex((each) => each !== 'all');
    if (first < 0) continue;
    const list = changes.map((change, i) => ({ change, kept: kept[i] as 'all' | readonly Kept[] })).slice(first);
    files.push({ ino, sizeBefore: sizeAfter(changes.slice(0, first), changes[first] as DataChange), changes: list });
  }

  const open = journal.names.filter((change) => {
    const path = change.type === 'rename' ? change.to : change.path;
    if (!mine.path(path) || journal.failed.has(change.seq)) return false;
    if (change.type !== 'unlink' && syncedBy(change.ino, change.seq)) return false;
    return !change.folders.every((folder) => syncedBy(folder, change.seq));
  });
  const byFolder = Map.groupBy(open, ({ folders }) => folders[0] ?? 0);
  const names = [...byFolder.values()]
    .flatMap((list) => list.slice(mercy === 'none' ? 0 : random.below(list.length + 1)))
    .sort((a, b) => b.seq - a.seq);
  counts.names = names.length;
  return { files, names, counts };
}

/** The pages of a change that were written back in time; a size goes with all or nothing. */
function survivors(change: DataChange, random: Prng): 'all' | readonly Kept[] {
  if (change.type === 'size') return random.chance(1, 2) ? 'all' : [];
  const end = change.offset + change.length;
  const kept: Kept[] = [];
  let whole = true;
  for (let at = change.offset; at < end; ) {
    const next = Math.min(end, (Math.floor(at / PAGE_BYTES) + 1) * PAGE_BYTES);
    if (random.chance(1, 2)) kept.push({ offset: at, length: next - at });
    else whole = false;
    at = next;
  }
  return whole ? 'all' : kept;
}

/** The size a file has after changes all of which are on disk, before `next`. */
function sizeAfter(changes: readonly DataChange[], next: DataChange): number {
  let size = changes[0]?.sizeBefore ?? next.sizeBefore;
  for (const change of changes) {
    size = change.type === 'size' ? change.sizeAfter : Math.max(size, change.offset + change.length);
  }
  // Two that extend it at once each know the size before both.
  return Math.max(size, next.sizeBefore);
}
