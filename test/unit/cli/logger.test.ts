import { closeSync, openSync } from 'node:fs';
import { expect, it } from 'vitest';
import { createLogger } from '../../../cli/logger.ts';

it('a full disk costs log lines, never the process that writes them', () => {
  const full = openSync('/dev/full', 'w');
  try {
    const log = createLogger('test', 1, full);
    expect(() => {
      for (let i = 0; i < 1000; i += 1) log.error('a line that finds no room', { i, more: 'x'.repeat(200) });
    }).not.toThrow();
  } finally {
    closeSync(full);
  }
});
