import type { NodeLook } from './clone-donor.ts';
import type { CloneProgress, DataFacts, ReprovisionJournal } from './reprovision-plan.ts';

export type CloneSource = Readonly<{ host: string; port: number; maxMiBPerS: number }>;

/**
 * What re-provisioning touches beyond the MysqldServer: the data directory as a whole, its journal, a CLONE, the other nodes. The
 * real one is host/local-clone.ts.
 */
export interface CloneHost {
  /** Of the server this node runs. */
  readonly mysqlVersion: string;

  /** Null if nothing is under way. @throws PhxError STORE_CORRUPT */
  readJournal(): Promise<ReprovisionJournal | null>;
  /** On disk when it resolves. */
  writeJournal(journal: ReprovisionJournal): Promise<void>;
  removeJournal(): Promise<void>;

  /** The three of these are only used while no mysqld runs, but for `measure`. */
  measure(): Promise<DataFacts>;
  /** Renames the data directory to `folder` beside it, with `reason` in it, and removes what was set aside before. Can be repeated. */
  setAside(folder: string, reason: string): Promise<void>;
  /** Removes the data directory, and what was planned for it. Can be repeated. */
  erase(): Promise<void>;

  /** Everybody but this node, asked now. Never rejects: who does not answer says why. */
  look(): Promise<readonly NodeLook[]>;

  /**
   * Replaces the data of the local mysqld, which runs, by a copy of another's; on its own connection. Resolves when the copy is
   * complete: mysqld then ends. Rejects with what mysqld said, or MYSQL_DOWN.
   */
  clone(source: CloneSource): Promise<void>;
  /** How far that is; null before it has begun. */
  progress(): Promise<CloneProgress | null>;
  /** Gives the connections up. */
  hangUp(): void;
}
