import { availableParallelism } from 'node:os';
import { defineConfig } from 'vitest/config';

const full = process.env['PHXSQL_TIER'] === 'full';

/** Two projects: quick ones run side by side, real mysqlds and clusters one file at a time (they share two cores). */
export default defineConfig({
  test: {
    projects: [
      {
        test: {
          name: 'unit',
          maxWorkers: availableParallelism(),
          sequence: { groupOrder: 0 },
          include: ['test/*.test.ts', 'test/{unit,script,sim}/**/*.test.ts'],
          testTimeout: full ? 1_800_000 : 60_000,
          hookTimeout: 60_000,
        },
      },
      {
        test: {
          name: 'e2e',
          sequence: { groupOrder: 1 },
          include: ['test/integration/**/*.test.ts', 'test/e2e/**/*.test.ts'],
          fileParallelism: false,
          testTimeout: full ? 3_600_000 : 300_000,
          hookTimeout: 300_000,
        },
      },
    ],
  },
});
