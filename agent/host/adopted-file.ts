import { join } from 'node:path';
import { PhxError } from '../../base/errors.ts';
import { GtidSet } from '../../mysql/gtid-set.ts';
import { readIfThere } from './durable-file.ts';

/** `gtidSet`: all the server had executed, the marker included: the cluster begins with it. */
export type Adopted = Readonly<{ gtidSet: string; serverUuid: string; version: string }>;

/** An index of binlogs, as BinlogIndex. */
export type Index = Readonly<{ path: string; lines: readonly string[] }>;

export type AdoptedFile = Adopted & Readonly<{ format: 1; binlogs: Index }>;

/** What `phxsql init --adopt` leaves in the directory of the node, before it moves the data there. */
export const adoptedFileOf = (nodeDir: string): string => join(nodeDir, 'adopted.json');

/** The adoption this node began with, or null. Throws CONFIG_INVALID on a file nobody of us wrote. */
export async function readAdopted(nodeDir: string): Promise<Adopted | null> {
  const path = adoptedFileOf(nodeDir);
  const text = await readIfThere(path);
  if (text === null) return null;
  try {
    const { format, gtidSet, serverUuid, version } = JSON.parse(text) as AdoptedFile;
    if (format === 1 && GtidSet.parse(gtidSet).toString() === gtidSet) return { gtidSet, serverUuid, version };
  } catch {
    // told below
  }
  throw new PhxError('CONFIG_INVALID', `read ${path}: not what phxsql init --adopt wrote`);
}
