import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { Level } from 'level';
import { PhxError } from '../base/errors.ts';

/**
 * One process per directory. The lock is the fcntl lock LevelDB takes on its LOCK file (DIR/lock is a database that stays
 * empty), so the kernel releases it when the holder dies, however it dies.
 */
export class DirLock implements AsyncDisposable {
  readonly #db: Level;
  #closing: Promise<void> | undefined;

  private constructor(db: Level) {
    this.#db = db;
  }

  /** Throws DIR_IN_USE; `holder` is only for the message. */
  static async take(dir: string, holder: () => number | null): Promise<DirLock> {
    mkdirSync(dir, { recursive: true, mode: 0o700 });
    const db = new Level(join(dir, 'lock'));
    try {
      await db.open();
    } catch (error) {
      if (codeOf(error) !== 'LEVEL_LOCKED') throw error;
      const pid = holder();
      throw new PhxError('DIR_IN_USE', `lock ${dir}: in use${pid === null ? '' : ` by process ${pid}`}`, {
        hint: 'it is running already; phxsql status shows it, phxsql cluster stop ends it',
      });
    }
    return new DirLock(db);
  }

  release(): Promise<void> {
    this.#closing ??= this.#db.close();
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.release();
  }
}

function codeOf(error: unknown): unknown {
  const cause = error instanceof Error ? error.cause : undefined;
  return typeof cause === 'object' && cause !== null && 'code' in cause ? cause.code : undefined;
}
