import { open, readdir, rename, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Logger } from '../../base/ports.ts';
import { EVENT_FLAG_IN_USE } from '../../mysql/binlog-event.ts';
import { isUuid } from '../../mysql/gtid.ts';
import { GtidSet } from '../../mysql/gtid-set.ts';
import { type BinlogIndex, binlogPath } from '../binlog-index.ts';
import type { CutPlan } from '../tail-cut.ts';
import {
  isMissing,
  makePrivateDirectory,
  parseDurable,
  readIfThere,
  removeDurably,
  syncDirectory,
  writeDurably,
} from './durable-file.ts';

/** Of a tail that is cut off at most this much is kept aside for people, and of the last cuts only so many. */
export const ASIDE_BYTES_MAX = 64 * 1024 * 1024;
export const ASIDE_FILES_MAX = 8;
const COPY_BYTES = 1 << 20;
/** Flags of the first event: after the 4 bytes of magic, 17 into the event's header. */
const FLAGS_OFFSET = 4 + 17;

export type CutPaths = Readonly<{ plan: string; autoCnf: string; cutDir: string; removed: string }>;

/** Named so that tests can stop after each of them. */
export const CUT_STEPS = ['plan', 'aside', 'uuid', 'note', 'index', 'truncate', 'delete', 'done'] as const;
export type CutStep = (typeof CUT_STEPS)[number];

export type CutOptions = Readonly<{ paths: CutPaths; log: Logger; afterStep?: (step: CutStep) => void }>;

/** Cuts: from a plan not yet on disk. mysqld must be dead and reaped. */
export async function cut(plan: CutPlan, options: CutOptions): Promise<void> {
  await writeDurably(options.paths.plan, `${JSON.stringify(plan, null, 2)}\n`);
  options.afterStep?.('plan');
  await perform(plan, options);
}

/**
 * Finishes a cut that was begun and not ended. True if there was one. A cut never removes the file it shortens: if that is not
 * there, the plan was made for another data directory (a backup was put in its place since) and is dropped.
 */
export async function finishCut(options: CutOptions): Promise<boolean> {
  const { paths, log } = options;
  const text = await readIfThere(paths.plan);
  if (text === null) return false;
  const plan = parsePlan(text, paths.plan);
  const last = plan.keep.at(-1);
  if (last !== undefined && !(await exists(binlogPath({ path: plan.index, lines: plan.keep }, last)))) {
    log.warn('the cut of the binlog that was begun was meant for another data directory', { file: last });
    await removeDurably(paths.plan);
    return false;
  }
  log.warn('finishing the cut of the binlog that was begun', { plan: paths.plan });
  await perform(plan, options);
  return true;
}

async function perform(plan: CutPlan, { paths, log, afterStep }: CutOptions): Promise<void> {
  const index: BinlogIndex = { path: plan.index, lines: plan.keep };
  const last = plan.keep.at(-1);
  const lastPath = last === undefined ? null : binlogPath(index, last);

  if (plan.aside !== null) await keepAside(plan, index, plan.aside);
  afterStep?.('aside');

  if (plan.serverUuid !== null) {
    await writeDurably(paths.autoCnf, `[auto]\nserver-uuid=${plan.serverUuid}\n`, 0o640);
  }
  afterStep?.('uuid');

  if (plan.gtids !== undefined && plan.gtids !== '') {
    const removed = GtidSet.parse(plan.gtids).union(await readRemoved(paths.removed));
    await writeDurably(paths.removed, `${removed}\n`);
  }
  afterStep?.('note');

  await writeDurably(plan.index, plan.keep.map((line) => `${line}\n`).join(''), 0o640);
  // An older copy of the index beside it must not come back (see readBinlogIndex).
  await rm(`${plan.index}_crash_safe`, { force: true });
  afterStep?.('index');

  if (lastPath !== null) await truncate(lastPath, plan.length);
  afterStep?.('truncate');

  for (const line of plan.drop) await rm(binlogPath(index, line), { force: true });
  await syncDirectory(dirname(plan.index));
  afterStep?.('delete');

  await removeDurably(paths.plan);
  log.warn('cut the binlog', {
    file: last ?? null,
    length: plan.length,
    dropped: plan.drop,
    transactions: plan.transactions,
    first: plan.firstGtid,
    reason: plan.reason,
    serverUuid: plan.serverUuid,
    aside: plan.aside,
  });
  afterStep?.('done');
}

/**
 * What cuts took away that mysqld did not yet prove to have rolled back. It lies in the data directory, and goes where that
 * goes: about a copy of another node's data it says nothing.
 */
export async function readRemoved(path: string): Promise<GtidSet> {
  return GtidSet.parse(((await readIfThere(path)) ?? '').trim());
}

async function truncate(path: string, length: number | null): Promise<void> {
  const file = await open(path, 'r+');
  try {
    if (length !== null && (await file.stat()).size > length) await file.truncate(length);
    const flags = Buffer.alloc(1);
    await file.read(flags, 0, 1, FLAGS_OFFSET);
    // The event's checksum is over the header with this flag cleared: it stays right.
    flags.writeUInt8(flags.readUInt8() | EVENT_FLAG_IN_USE);
    await file.write(flags, 0, 1, FLAGS_OFFSET);
    await file.sync();
  } finally {
    await file.close();
  }
}

/** The bytes that go, end to end, up to ASIDE_BYTES_MAX. Not repeated once it is complete, or the bytes are gone. */
async function keepAside(plan: CutPlan, index: BinlogIndex, aside: string): Promise<void> {
  if (await exists(aside)) return;
  await makePrivateDirectory(dirname(aside));
  const last = plan.keep.at(-1);
  const pieces = plan.drop.map((line) => ({ path: binlogPath(index, line), from: 0 }));
  if (last !== undefined && plan.length !== null) pieces.unshift({ path: binlogPath(index, last), from: plan.length });
  const fresh = `${aside}.new`;
  const target = await open(fresh, 'w', 0o600);
  let left = ASIDE_BYTES_MAX;
  try {
    const buffer = Buffer.allocUnsafe(COPY_BYTES);
    for (const { path, from } of pieces) {
      const source = await open(path, 'r').catch((error: unknown) => {
        if (isMissing(error)) return null;
        throw error;
      });
      if (source === null) continue;
      try {
        for (let offset = from; left > 0; ) {
          const { bytesRead } = await source.read(buffer, 0, Math.min(buffer.length, left), offset);
          if (bytesRead === 0) break;
          await target.write(buffer, 0, bytesRead);
          offset += bytesRead;
          left -= bytesRead;
        }
      } finally {
        await source.close();
      }
    }
    await target.sync();
  } finally {
    await target.close();
  }
  await rename(fresh, aside);
  const older = (await readdir(dirname(aside))).filter((name) => name.endsWith('.bin')).sort(); // names are times
  for (const name of older.slice(0, -ASIDE_FILES_MAX)) await rm(join(dirname(aside), name), { force: true });
  await syncDirectory(dirname(aside));
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    (error: unknown) => {
      if (isMissing(error)) return false;
      throw error;
    },
  );
}

function parsePlan(text: string, path: string): CutPlan {
  const strings = (list: unknown): boolean => Array.isArray(list) && list.every((item) => typeof item === 'string');
  return parseDurable<CutPlan>(text, {
    path,
    what: 'cut plan',
    remedy: 'remove it only with the binlog checked by hand',
    sound: (plan) =>
      plan?.version === 1 &&
      typeof plan.index === 'string' &&
      strings(plan.keep) &&
      strings(plan.drop) &&
      (plan.length === null || Number.isSafeInteger(plan.length)) &&
      (plan.serverUuid === null || isUuid(plan.serverUuid)),
  });
}
