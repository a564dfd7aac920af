import { randomUUID } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, open, readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { type InstanceId, NO_BALLOT, NO_INSTANCE, type NodeId } from '../base/brands.ts';
import { PhxError, reasonOf } from '../base/errors.ts';
import type { Logger } from '../base/ports.ts';
import { ruleHolds } from '../base/rules.ts';
import type { Entry } from './paxos/types.ts';
import { causeOf, type Database, dirInUse, faultOf, openDatabase, storeIo } from './store-database.ts';
import { findGap, Ledger } from './store-ledger.ts';
import type { SavedState, StoreIdentity } from './store-port.ts';
import {
  type Checkpoint,
  decodeCheckpoint,
  decodeEntry,
  decodeIdentity,
  decodeJournal,
  decodeLogKey,
  encodeCheckpoint,
  encodeIdentity,
  encodeLogKey,
  IDENTITY_KEY,
  type JournalRecord,
  META_AMNESIAC,
  RECORD_CLASS,
  STORE_FORMAT,
  STORE_FORMAT_FIRST,
} from './store-records.ts';
import { damagedTable } from './table-check.ts';

export type StoreOptions = Readonly<{
  /** Holds `acceptor` and `state`. */
  dir: string;
  cluster: string;
  node: NodeId;
  log: Logger;
  clockWall: () => number;
  /** The process before died by a fault of its own while it had the store open: every block is checked first. */
  suspect?: boolean;
}>;

const ACCEPTOR = 'acceptor';
/** Complete, waiting for its name: a forget was interrupted. */
const NEXT = 'acceptor.next';
const BUILDING = 'acceptor.building';
/** In the acceptor's directory: damage was found here; once known it stays known, whatever is left to find. */
const AMNESIA_FILE = 'AMNESIA';

const SCAN_BYTES = 4 * 1024 * 1024;
const SCAN_ENTRIES = 1000;

export const acceptorPath = (dir: string): string => join(dir, ACCEPTOR);
export const statePath = (dir: string): string => join(dir, 'state');

export function amnesiaError(path: string, reason: string, cause?: unknown): PhxError {
  return new PhxError('AMNESIA', `open store ${path}: ${reason}`, {
    cause,
    hint: 'this acceptor forgot what it promised: it has to be set aside and rejoin as a new one',
  });
}

/** The store's database and who it is; made if there is none. */
export async function openAcceptor(
  options: StoreOptions,
): Promise<{ db: Database; identity: StoreIdentity; format: number }> {
  const { dir } = options;
  const path = acceptorPath(dir);
  try {
    await mkdir(dir, { recursive: true });
    if (!existsSync(path)) {
      if (!existsSync(join(dir, NEXT))) await buildAcceptor(options, {});
      await rename(join(dir, NEXT), path);
      await syncDirectory(dir);
    }
  } catch (error) {
    throw error instanceof PhxError ? error : storeIo(`create store ${dir}`, error);
  }
  const db = await openExisting(path);
  try {
    await syncFound(path);
    return { db, ...(await readIdentity(db, path, options)) };
  } catch (error) {
    await db.close();
    throw error;
  }
}

/**
 * LevelDB has moved what it found in its log into a synced table and named a new manifest with it; but it does not sync the
 * folder. A power cut would bring the old manifest back, and with it a log whose end its process never synced.
 */
async function syncFound(path: string): Promise<void> {
  if (!ruleHolds('found-is-on-disk')) return;
  try {
    await syncDirectory(path);
  } catch (error) {
    throw storeIo(`sync store ${path}`, error);
  }
}

/**
 * Before LevelDB sees them. What is rebuildable is thrown away if damaged.
 * @throws PhxError AMNESIA
 */
export async function refuseDamagedTables({ dir, log }: StoreOptions): Promise<void> {
  const path = acceptorPath(dir);
  log.warn('the last process with this store open died: checking all of it', { dir });
  const damage = await damagedTable(path);
  if (damage !== null) throw amnesiaError(path, damage);
  const damagedState = await damagedTable(statePath(dir));
  if (damagedState === null) return;
  log.warn('state database is damaged, rebuilding it', { dir, reason: damagedState });
  await rm(statePath(dir), { recursive: true, force: true });
}

/**
 * Sets a damaged acceptor aside and begins a new one under a new store id: it learns everything again, and votes only
 * once the log says so. Refuses a store that is open, or someone else's. Returns where the old one went.
 */
export async function replaceAcceptor(options: StoreOptions, reason: string): Promise<string> {
  const { dir } = options;
  const path = acceptorPath(dir);
  const aside = `${path}.forgotten-${new Date(options.clockWall()).toISOString().replaceAll(/[:.]/g, '')}`;
  await refuseUnlessForgettable(path, options);
  try {
    await mkdir(dir, { recursive: true });
    await rm(join(dir, NEXT), { recursive: true, force: true });
    await buildAcceptor(options, { [META_AMNESIAC]: reason });
    if (existsSync(path)) await rename(path, aside);
    await rename(join(dir, NEXT), path);
    await rm(statePath(dir), { recursive: true, force: true });
    await syncDirectory(dir);
  } catch (error) {
    throw error instanceof PhxError ? error : storeIo(`replace store ${path}`, error);
  }
  options.log.warn('acceptor set aside, a new one begins', { setAside: aside, reason });
  return aside;
}

export type Verified = Readonly<{ ledger: Ledger; tail: readonly Entry[]; amnesia: string | null }>;

/** Reads everything behind the newest checkpoint and accounts for each record. Throws STORE_IO only. */
export async function verifyAcceptor(
  db: Database,
  dir: string,
  saved: SavedState | null,
  durableHint: number,
): Promise<Verified> {
  const path = acceptorPath(dir);
  const blank: Checkpoint = {
    sealed: NO_INSTANCE,
    seq: 0,
    promised: NO_BALLOT,
    open: [],
    meta: {},
    applied: null,
    base: null,
  };
  const known = await readFile(join(path, AMNESIA_FILE), 'utf8').catch(() => null);
  try {
    const checkpoint = await newestCheckpoint(db);
    if (checkpoint === null) {
      return { ledger: new Ledger(blank), tail: [], amnesia: known ?? 'no intact checkpoint in the acceptor database' };
    }
    const found = await scanBehind(db, checkpoint, saved);
    const { ledger } = found;
    const gap = ruleHolds('hole-is-amnesia') ? findGap(checkpoint, found.seqs) : null;
    let amnesia = known ?? found.damage ?? gap;
    if (durableHint > ledger.durableSeq) {
      amnesia ??= `acceptor record ${durableHint} was durable, the newest one is ${ledger.durableSeq}`;
    }
    const missing = saved === null ? null : ledger.noteApplied(saved);
    if (missing !== null) amnesia ??= `instance ${missing} was applied and is missing`;
    return { ledger, tail: found.tail, amnesia };
  } catch (error) {
    if (faultOf(error) !== 'corrupt') throw storeIo(`read store ${path}`, error);
    return { ledger: new Ledger(blank), tail: [], amnesia: known ?? `LevelDB: ${causeOf(error)}` };
  }
}

export async function markAmnesia(dir: string, reason: string, log: Logger): Promise<void> {
  try {
    const file = await open(join(acceptorPath(dir), AMNESIA_FILE), 'w');
    try {
      await file.writeFile(reason);
      await file.sync();
    } finally {
      await file.close();
    }
    await syncDirectory(acceptorPath(dir));
  } catch (error) {
    log.error('mark store as amnesiac failed', { reason: reasonOf(error) });
  }
}

async function newestCheckpoint(db: Database): Promise<Checkpoint | null> {
  for await (const key of db.keys({ reverse: true })) {
    const at = decodeLogKey(key);
    if (at === null) return null;
    if (at.recordClass !== RECORD_CLASS.checkpoint) continue;
    const record = await db.get(key);
    return record === undefined ? null : decodeCheckpoint(key, record);
  }
  return null;
}

type Scanned = { ledger: Ledger; tail: Entry[]; seqs: number[]; damage: string | null };

/** Memory: the accepted entries above the applied index, which the core's window bounds. */
async function scanBehind(db: Database, checkpoint: Checkpoint, saved: SavedState | null): Promise<Scanned> {
  const ledger = new Ledger(checkpoint);
  const appliedIndex = Math.max(saved?.appliedIndex ?? 0, checkpoint.applied?.appliedIndex ?? 0);
  const tail = new Map<InstanceId, Entry>();
  const journal: { position: InstanceId; seq: number; record: JournalRecord }[] = [];
  const seqs: number[] = [];
  let damage: string | null = null;
  const start = encodeLogKey(checkpoint.sealed, RECORD_CLASS.checkpoint, checkpoint.seq);
  const iterator = db.iterator({ gt: start, highWaterMarkBytes: SCAN_BYTES });
  try {
    for (;;) {
      const chunk = await iterator.nextv(SCAN_ENTRIES);
      if (chunk.length === 0) break;
      for (const [key, value] of chunk) {
        const at = decodeLogKey(key);
        if (at?.recordClass === RECORD_CLASS.entry && at.position > checkpoint.sealed) {
          if (at.seq === 0) continue;
          const entry = decodeEntry(key, value);
          if (entry === null) {
            damage ??= `acceptor record ${at.seq} (instance ${at.position}) is damaged`;
            continue;
          }
          seqs.push(at.seq);
          ledger.noteEntry(at.position, entry.ballot, entry.slot);
          if (at.position > appliedIndex) {
            tail.set(at.position, { instance: at.position, ballot: entry.ballot, value: entry.value });
          }
        } else if (at?.recordClass === RECORD_CLASS.journal) {
          const record = decodeJournal(key, value);
          if (record === null) damage ??= `acceptor record ${at.seq} is damaged`;
          // A number up to the checkpoint's is one whose deletion was lost; the checkpoint contains it.
          else if (at.seq > checkpoint.seq) journal.push({ position: at.position, seq: at.seq, record });
        } else {
          damage ??= 'a record behind the newest checkpoint has a damaged key';
        }
      }
    }
  } finally {
    await iterator.close();
  }
  for (const { position, seq, record } of journal.sort((a, b) => a.seq - b.seq)) {
    seqs.push(seq);
    ledger.noteJournal(position, seq, record);
  }
  return { ledger, tail: [...tail.values()], seqs, damage };
}

async function openExisting(path: string): Promise<Database> {
  try {
    return await openDatabase(path, false);
  } catch (error) {
    const fault = faultOf(error);
    if (fault === 'locked') throw dirInUse(path, error);
    if (fault === 'io') throw storeIo(`open store ${path}`, error);
    throw amnesiaError(path, `LevelDB: ${causeOf(error)}`, error);
  }
}

async function readIdentity(
  db: Database,
  path: string,
  options: StoreOptions,
): Promise<{ identity: StoreIdentity; format: number }> {
  let record: Uint8Array | undefined;
  try {
    record = await db.get(IDENTITY_KEY);
  } catch (error) {
    if (faultOf(error) === 'io') throw storeIo(`read store ${path}`, error);
    throw amnesiaError(path, `LevelDB: ${causeOf(error)}`, error);
  }
  const stored = record === undefined ? null : decodeIdentity(record);
  if (stored === null) throw amnesiaError(path, 'its identity record is missing or damaged');
  const { format, cluster, node, storeId, createdWallMs } = stored;
  if (format < STORE_FORMAT_FIRST || format > STORE_FORMAT) {
    throw new PhxError(
      'STORE_FORMAT',
      `open store ${path}: format version ${format}, this program knows ${STORE_FORMAT}`,
      {
        hint: 'it was written by a newer version of the program; run that version, or give this node an empty directory',
      },
    );
  }
  if (cluster !== options.cluster || node !== options.node) {
    throw new PhxError(
      'DIR_FOREIGN',
      `open store ${path}: it belongs to node ${node} of cluster ${cluster}, not to node ${options.node} of ${options.cluster}`,
      { hint: 'check the data directory in the configuration' },
    );
  }
  return { identity: { cluster, node, storeId, createdWallMs }, format };
}

async function refuseUnlessForgettable(path: string, options: StoreOptions): Promise<void> {
  if (!existsSync(path)) return;
  if (options.suspect === true && (await damagedTable(path)) !== null) return; // not even to be opened
  try {
    const db = await openExisting(path);
    try {
      await readIdentity(db, path, options);
    } finally {
      await db.close();
    }
  } catch (error) {
    if (!(error instanceof PhxError) || error.code !== 'AMNESIA') throw error;
  }
}

/** Leaves a complete database under NEXT, so that a store directory with its final name is never half made. */
async function buildAcceptor(options: StoreOptions, meta: Readonly<Record<string, string>>): Promise<void> {
  const { dir, cluster, node } = options;
  const building = join(dir, BUILDING);
  await rm(building, { recursive: true, force: true });
  const identity: StoreIdentity = { cluster, node, storeId: randomUUID(), createdWallMs: options.clockWall() };
  const key = encodeLogKey(0, RECORD_CLASS.checkpoint, 0);
  const checkpoint: Checkpoint = {
    sealed: NO_INSTANCE,
    seq: 0,
    promised: NO_BALLOT,
    open: [],
    meta,
    applied: null,
    base: null,
  };
  const db = await openDatabase(building, true);
  try {
    await db.batch(
      [
        { type: 'put', key: IDENTITY_KEY, value: encodeIdentity(identity) },
        { type: 'put', key, value: encodeCheckpoint(key, checkpoint) },
      ],
      { sync: true },
    );
  } finally {
    await db.close();
  }
  await syncDirectory(building);
  await rename(building, join(dir, NEXT));
  await syncDirectory(dir);
}

async function syncDirectory(path: string): Promise<void> {
  const handle = await open(path, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
