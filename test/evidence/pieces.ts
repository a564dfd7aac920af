import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';

export type Piece = Readonly<{
  name: string;
  what: string;
  unit: string;
  target: number;
  unitsPerRun: number;
  /** One run; resolves with a short account of it, rejects with what failed. */
  run(seed: number): Promise<string>;
}>;

const ROOT = fileURLToPath(new URL('../../', import.meta.url));

/** Runs vitest over `files` with `env`; the last lines are the account. */
function vitest(files: readonly string[], env: Readonly<Record<string, string>>): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn('npx', ['vitest', 'run', '--reporter=default', ...files], {
      cwd: ROOT,
      env: { ...process.env, NO_COLOR: '1', ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let output = '';
    child.stdout.on('data', (chunk) => (output += chunk));
    child.stderr.on('data', (chunk) => (output += chunk));
    child.on('error', reject);
    child.on('close', (code) => {
      const summary = output
        .split('\n')
        .filter((line) => /Tests|write gaps|mutations|kills: |power cuts: /.test(line))
        .join('; ')
        .trim();
      if (code === 0) resolve(summary);
      else reject(new Error(output.slice(-4000)));
    });
  });
}

const MUTATIONS_PER_RUN = 100_000;
const SEEDS_PER_RUN = 5_000;
const KILLS_PER_RUN = 100;
/** Of one node, and as many of all. */
const POWER_CUTS_PER_RUN = 10;

/** The n-th range of consecutive seeds; the account is what was simulated and which faults were injected how often. */
function simulate(run: number): Promise<string> {
  const first = (run - 1) * SEEDS_PER_RUN + 1;
  const args = ['test/sim/main.ts', '--json', '--seed', String(first), '--seeds', String(SEEDS_PER_RUN)];
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, args, { cwd: ROOT, stdio: ['ignore', 'pipe', 'inherit'] });
    let output = '';
    child.stdout.on('data', (chunk) => (output += chunk));
    child.on('error', reject);
    child.on('close', (code) => {
      if (code !== 0) {
        reject(new Error(`exit ${code}: ${output.slice(-4000)}`));
        return;
      }
      const { simulatedMs, counts } = JSON.parse(output) as { simulatedMs: number; counts: Record<string, number> };
      const last = first + SEEDS_PER_RUN - 1;
      resolve(
        JSON.stringify({ seeds: `${first}-${last}`, simulatedHours: Math.round(simulatedMs / 36_000) / 100, counts }),
      );
    });
  });
}

export const PIECES: readonly Piece[] = [
  {
    name: 'sim',
    what: 'simulated clusters of three and five nodes, consecutive seeds',
    unit: 'seeds',
    target: 1_000_000,
    unitsPerRun: SEEDS_PER_RUN,
    run: simulate,
  },
  {
    name: 'fuzz',
    what: 'seeded mutations of recorded bytes against each parser',
    unit: 'mutations per parser',
    target: 1_000_000,
    unitsPerRun: MUTATIONS_PER_RUN,
    run: (seed) =>
      vitest(['test/unit/mysql/fuzz', 'test/unit/binlogsvr/fuzz'], {
        PHXSQL_FUZZ_MUTATIONS: String(MUTATIONS_PER_RUN),
        PHXSQL_FUZZ_SEED: String(seed),
      }),
  },
  {
    name: 'flip',
    what: 'every byte of a small store flipped',
    unit: 'full passes',
    target: 1,
    unitsPerRun: 1,
    run: () => vitest(['test/unit/binlogsvr/log-store'], { PHXSQL_FLIP_EVERY: '1' }),
  },
  {
    name: 'failover',
    what: 'kills of the master under load, alternately mysqld and the whole node',
    unit: 'kills',
    target: 200,
    unitsPerRun: 20,
    run: () => vitest(['test/e2e/cluster/failover'], { PHXSQL_TIER: 'full' }),
  },
  {
    name: 'random-kills',
    what: 'kills of any process of any node under a bank-transfer load, each run with a seed of its own',
    unit: 'kills',
    target: 1_000,
    unitsPerRun: KILLS_PER_RUN,
    run: (seed) =>
      vitest(['test/e2e/cluster/random-kills'], {
        PHXSQL_TIER: 'full',
        PHXSQL_KILLS: String(KILLS_PER_RUN),
        PHXSQL_KILL_SEED: String(seed),
      }),
  },
  {
    name: 'power-cuts',
    what: 'power cuts of one node and of all at once under a bank-transfer load, each run with a seed of its own',
    unit: 'power cuts',
    target: 200,
    unitsPerRun: 2 * POWER_CUTS_PER_RUN,
    run: (seed) =>
      vitest(['test/e2e/cluster/power-cut'], {
        PHXSQL_TIER: 'full',
        PHXSQL_POWER_CUTS: String(POWER_CUTS_PER_RUN),
        PHXSQL_POWER_SEED: String(seed),
      }),
  },
  {
    name: 'disaster',
    what: 'lost quorum, whole-cluster kill, restored old master',
    unit: 'passes',
    target: 10,
    unitsPerRun: 1,
    run: () => vitest(['test/e2e/cluster/disaster'], { PHXSQL_TIER: 'full' }),
  },
  {
    name: 'basics',
    what: 'everything asked of a running cluster, sysbench for 60 s',
    unit: 'passes',
    target: 5,
    unitsPerRun: 1,
    run: () => vitest(['test/e2e/cluster/basics'], { PHXSQL_TIER: 'full' }),
  },
];
