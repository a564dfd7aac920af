import type { Donor } from './clone-donor.ts';

/**
 * Getting a node's data anew from another node, as a plan on disk: a crash at any step is followed by the same step again.
 *
 *   why ─► a majority answers ─► somebody else has the data ─► room for both ─► kill, reap
 *          (else nothing is touched, and it is asked again)                         │
 *                                                                                   ▼
 *    journal: aside ─► old data directory renamed or erased ─► journal: clone ─► fresh one, mysqld offline and read-only
 *                                                                   ▲               │
 *                                     another donor, after a pause  │ died, hung,   ▼
 *                                                                   └─ refused ── CLONE ─► mysqld ends
 *                                                                                              │
 *    journal gone ◄── replica ◄── settle ◄── recover, as before every start ◄── journal: settle ┘
 *
 * From `clone` on what lies in the data directory is a copy under way and nothing else: begun again, it is thrown away.
 */
export type ReprovisionStep = 'aside' | 'clone' | 'settle';

export type ReprovisionJournal = Readonly<{
  version: 1;
  step: ReprovisionStep;
  /** Why the data has to be replaced, in words. */
  reason: string;
  /** The folder the old data directory is renamed to, beside it; null: it is erased. */
  aside: string | null;
  /** The node copied from, and what it had executed before: the log behind that is kept. 0 and '' before there is one. */
  donor: number;
  base: string;
  /** Copies begun so far. */
  attempts: number;
}>;

/** empty: nothing was ever written to it; behind: all it holds is in the log, but the log no longer holds what comes next. */
export type ReprovisionKind = 'empty' | 'behind' | 'diverged';

export type ReprovisionPolicy = Readonly<{
  /** off: a node that needs new data says so and waits. */
  mode: 'auto' | 'off';
  /** What becomes of data that is not in the log. */
  divergedData: 'set-aside' | 'erase';
  /** 0: no bound. */
  cloneMaxMiBPerS: number;
}>;

export const DEFAULT_REPROVISION: ReprovisionPolicy = {
  mode: 'auto',
  divergedData: 'set-aside',
  // About what a gigabit network carries: the donor goes on serving.
  cloneMaxMiBPerS: 100,
};

/** What the decision knows (decide.ts); null where this agent cannot re-provision at all. */
export type ReprovisionFacts = Readonly<{
  mode: ReprovisionPolicy['mode'];
  /** Begun and not complete: nothing else may be done with the data directory. */
  underWay: boolean;
  /** Not to be tried before; 0 = now. */
  retryInMs: number;
  /** What became of the last try, in words; '' if there was none. */
  said: string;
}>;

export type DataFacts = Readonly<{
  /** Bytes of the data directory; 0 if there is none. */
  bytes: number;
  freeBytes: number;
  /** Bytes of what was set aside before: it goes when something else is set aside. Null: nothing was. */
  asideBytes: number | null;
}>;

/** A fresh data directory with redo log and binlog, beside what is copied. */
export const COPY_BYTES_MORE = 512 * 1024 * 1024;

export type Disposal = Readonly<{ do: 'set-aside' | 'erase' }> | Readonly<{ do: 'refuse'; reason: string }>;

/**
 * What becomes of the old data. The copy is taken to be as large as what is here. Data that is merely behind holds nothing the
 * log does not: it is kept only while that costs nothing.
 */
export function dispose(
  kind: ReprovisionKind,
  divergedData: ReprovisionPolicy['divergedData'],
  { bytes, freeBytes, asideBytes }: DataFacts,
): Disposal {
  if (bytes === 0 || divergedData === 'erase' || kind === 'empty') return { do: 'erase' };
  const needed = bytes + COPY_BYTES_MORE;
  if (kind === 'behind') return { do: asideBytes === null && freeBytes >= needed ? 'set-aside' : 'erase' };
  if (freeBytes + (asideBytes ?? 0) >= needed) return { do: 'set-aside' };
  return {
    do: 'refuse',
    reason: `no room to set the diverged data aside: ${sizeOf(freeBytes)} free, ${sizeOf(needed)} needed for a copy beside it; free some space, or say recovery.diverged_data = "erase"`,
  };
}

const PAUSES_MS = [1_000, 5_000, 15_000, 60_000, 300_000] as const;

/** Before the next copy, after `failures` of them. */
export function pauseAfter(failures: number): number {
  return PAUSES_MS[Math.min(Math.max(failures, 1), PAUSES_MS.length) - 1] as number;
}

/** Of performance_schema.clone_progress. */
export type CloneProgress = Readonly<{
  /** DROP DATA, FILE COPY, PAGE COPY, REDO COPY, FILE SYNC, RESTART, RECOVERY; '' = not begun. */
  stage: string;
  doneBytes: number;
  /** 0 until the donor has told. */
  estimateBytes: number;
}>;

/** Without anything moving for so long a copy is given up. A master's hangs while a commit waits for its ack (protocol-findings 26). */
const STALL_MS = { slave: 60_000, master: 15_000 } as const;
/** In these the recipient works by itself, and nothing shows how far it is. */
const QUIET_STAGES: readonly string[] = ['DROP DATA', 'FILE SYNC'];
const QUIET_STALL_MS = 900_000;

export function stallMs(donor: Pick<Donor, 'master'>, { stage }: CloneProgress): number {
  if (QUIET_STAGES.includes(stage)) return QUIET_STALL_MS;
  return donor.master ? STALL_MS.master : STALL_MS.slave;
}

/** Two of the same text: nothing moved. */
export const progressKey = ({ stage, doneBytes }: CloneProgress): string => `${stage} ${doneBytes}`;

/** `clones from node 2: 43 % (1.2 of 2.8 GiB), about 12 s left` */
export function describeProgress(donor: Pick<Donor, 'node'>, progress: CloneProgress, elapsedMs: number): string {
  const { doneBytes, estimateBytes, stage } = progress;
  const what = `clones from node ${donor.node}`;
  if (stage === '' || estimateBytes === 0) return `${what}: begins`;
  const done = Math.min(doneBytes, estimateBytes);
  const percent = Math.floor((100 * done) / estimateBytes);
  const amount = amountOf(done, estimateBytes);
  if (stage !== 'FILE COPY') return `${what}: ${percent} % (${amount}), ${stage.toLowerCase()}`;
  if (done === 0) return `${what}: ${percent} % (${amount})`;
  const leftMs = (elapsedMs / done) * (estimateBytes - done);
  return `${what}: ${percent} % (${amount}), about ${duration(leftMs)} left`;
}

const UNITS = [
  [1024 ** 4, 'TiB'],
  [1024 ** 3, 'GiB'],
  [1024 ** 2, 'MiB'],
] as const;

/** `1.2 of 2.8 GiB`: in the unit of the whole. */
function amountOf(done: number, whole: number): string {
  const [unit, name] = UNITS.find(([size]) => whole >= size) ?? UNITS[2];
  return `${(done / unit).toFixed(1)} of ${(whole / unit).toFixed(1)} ${name}`;
}

const sizeOf = (bytes: number): string => amountOf(bytes, bytes).replace(/^.* of /, '');

function duration(ms: number): string {
  const seconds = Math.ceil(ms / 1000);
  if (seconds < 120) return `${seconds} s`;
  return seconds < 7200 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`;
}
