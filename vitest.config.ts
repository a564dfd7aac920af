import { availableParallelism } from 'node:os';
import { defineConfig } from 'vitest/config';

const full = process.env['PHXSQL_TIER'] === 'full';
const e2e = { testTimeout: full ? 3_600_000 : 300_000, hookTimeout: 300_000 };

/** Of the end-to-end tests, those that wait more than they work and measure no time. */
const SIDE_BY_SIDE = [
  'test/integration/**/*.test.ts',
  'test/e2e/{agent,mysqld,package}/**/*.test.ts',
  'test/e2e/cluster/{adopt,members,reprovision,xa}.test.ts',
];

/**
 * Three projects, one after the other: quick tests side by side; real mysqlds and clusters two files at a time; those that
 * look at times one file at a time (all share two cores). With every count, whatever runs for minutes has the machine to itself.
 */
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
          ...e2e,
          name: 'e2e',
          sequence: { groupOrder: 1 },
          include: SIDE_BY_SIDE,
          ...(full ? { fileParallelism: false } : { maxWorkers: 2 }),
        },
      },
      {
        test: {
          ...e2e,
          name: 'e2e-timed',
          sequence: { groupOrder: 2 },
          include: ['test/e2e/**/*.test.ts'],
          exclude: SIDE_BY_SIDE,
          fileParallelism: false,
        },
      },
    ],
  },
});
