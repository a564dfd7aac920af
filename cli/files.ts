import { closeSync, fsyncSync, openSync, renameSync, rmSync, statSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';

/** Readers see the old text or the new one, whole; `durable` ones outlive a power cut. Mode 0600. */
export function writeAtomically(path: string, text: string, durability: 'durable' | 'fleeting'): void {
  const temporary = `${path}.tmp`;
  rmSync(temporary, { force: true });
  const file = openSync(temporary, 'wx', 0o600);
  try {
    writeSync(file, text);
    if (durability === 'durable') fsyncSync(file);
  } finally {
    closeSync(file);
  }
  renameSync(temporary, path);
  if (durability === 'durable') syncFolder(dirname(path));
}

/** A name is on disk once its folder is. */
function syncFolder(path: string): void {
  const folder = openSync(path, 'r');
  try {
    fsyncSync(folder);
  } finally {
    closeSync(folder);
  }
}

/** A log is begun anew, the last one kept as `.1`, when it has grown beyond this. Looked at when its process starts. */
export const LOG_BYTES_MAX = 32 * 1024 * 1024;

/** Opens a log for appending; the caller closes the descriptor once its child has it. */
export function openLog(path: string): number {
  try {
    if (statSync(path).size > LOG_BYTES_MAX) renameSync(path, `${path}.1`);
  } catch {
    // there is none yet
  }
  return openSync(path, 'a', 0o600);
}
