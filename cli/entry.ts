import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/** cli/main as this installation runs it: the source, or dist/cli/main.js. */
export const ENTRY = fileURLToPath(
  new URL(import.meta.url.endsWith('.ts') ? './main.ts' : './main.js', import.meta.url),
);

/** The version package.json states. */
export function version(): string {
  for (const place of ['../package.json', '../../package.json']) {
    try {
      const read = JSON.parse(readFileSync(new URL(place, import.meta.url), 'utf8')) as {
        name?: string;
        version?: string;
      };
      if (read.name === 'phxsql' && read.version !== undefined) return read.version;
    } catch {
      // dist/ lies one level deeper than the sources
    }
  }
  return '0.0.0';
}
