import { homedir } from 'node:os';
import { join } from 'node:path';

/** What can be had again: unpacked servers, templates, compiled code. Per user, never in the system. */
export function defaultCacheDir(env: NodeJS.ProcessEnv): string {
  const chosen = env['PHXSQL_CACHE'];
  if (chosen !== undefined && chosen !== '') return chosen;
  const xdg = env['XDG_CACHE_HOME'];
  if (xdg?.startsWith('/') === true) return join(xdg, 'phxsql');
  return join(env['HOME'] ?? homedir(), '.cache', 'phxsql');
}
