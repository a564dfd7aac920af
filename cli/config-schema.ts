import { z } from 'zod';
import { DEFAULT_REPROVISION } from '../agent/reprovision-plan.ts';
import { NODE_ID_MAX } from '../base/brands.ts';
import { CANDIDATE_LAG_MS_MIN, DEFAULT_FLOW, DELAY_MS_MAX } from '../base/flow-policy.ts';
import { DEFAULT_PURGE } from '../binlogsvr/purge-policy.ts';

/**
 * The node's configuration file as written: TOML, names with the unit last. Every table is strict, so that a misspelt name
 * is an error and not a silent default. What is not here has no effect.
 */

export const DEFAULT_PORTS = { rw: 54321, ro: 54322, dump: 6000, rpc: 17000, mysql: 11111, http: 18080 } as const;
/** More voters only slow every commit down. */
export const NODES_MAX = 9;

export const HOUR_MS = 3_600_000;
export const GiB = 1024 ** 3;

const port = z.int().min(1).max(65535);
const millis = z.int().min(1).max(3_600_000);
const name = z.string().regex(/^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$/, 'must be letters, digits, _ . - (at most 63)');
const path = z.string().min(1);

export const nodeSchema = z.strictObject({
  /** 1..255, unique, never given to another machine as long as the cluster lives. */
  id: z.int().min(1).max(NODE_ID_MAX),
  /** Where the others and the clients reach it. */
  host: z.string().min(1),
  rw: port.default(DEFAULT_PORTS.rw),
  ro: port.default(DEFAULT_PORTS.ro),
  dump: port.default(DEFAULT_PORTS.dump),
  rpc: port.default(DEFAULT_PORTS.rpc),
  mysql: port.default(DEFAULT_PORTS.mysql),
  http: port.default(DEFAULT_PORTS.http),
});

/** All nodes must say the same. Absent values follow from lease_ms. */
export const leaseSchema = z.strictObject({
  /** Longer: fewer needless failovers. Shorter: a dead node is replaced sooner. */
  lease_ms: millis.optional(),
  renew_ms: millis.optional(),
  takeover_ms: millis.optional(),
});

export const proxySchema = z.strictObject({
  /** Processes; default min(4, cores / 2). Each costs 40 MiB. */
  workers: z.int().min(1).max(64).optional(),
  /** How long a connection to the RW port waits for a master. Clients usually give up at 10 s. */
  rw_wait_ms: z.int().min(0).max(3_600_000).default(8000),
  /** Per port and worker; one more is refused with a MySQL error. */
  max_connections: z.int().min(1).max(1_000_000).default(10_000),
});

/** How a node whose data is of no use to the cluster gets new data. */
export const recoverySchema = z.strictObject({
  /** off: it says why, and waits for a person. */
  reprovision: z.enum(['auto', 'off']).default(DEFAULT_REPROVISION.mode),
  /** Data that is not in the log is kept beside the data directory (one copy), or erased. */
  diverged_data: z.enum(['set-aside', 'erase']).default(DEFAULT_REPROVISION.divergedData),
  /** How much of its network the donor gives to a copy; 0 = no bound. */
  clone_max_mib_per_s: z.int().min(0).max(1_048_576).default(DEFAULT_REPROVISION.cloneMaxMiBPerS),
});

/** This node joins a cluster there is; [[nodes]] then lists it and at least one member to ask. */
export const joinSchema = z.strictObject({
  /** voter: MySQL and a vote. learner: MySQL, no vote. witness: a vote, no MySQL. */
  kind: z.enum(['voter', 'learner', 'witness']).default('voter'),
  /** prefer: the others leave it a second to stand first. never: it is not elected. */
  election: z.enum(['prefer', 'neutral', 'never']).default('neutral'),
});

/** How long another node may need until it can be master, and what is done about it. */
export const flowSchema = z.strictObject({
  /** Behind more than this, the least-lagged node that may be elected has commits delayed. Less: commits wait sooner. */
  max_candidate_lag_ms: z.int().min(CANDIDATE_LAG_MS_MIN).max(3_600_000).default(DEFAULT_FLOW.maxCandidateLagMs),
  /** A commit waits at most this much longer for its acknowledgement; 0: none does, and a slave may fall behind without end. */
  max_delay_ms: z.int().min(0).max(DELAY_MS_MAX).default(DEFAULT_FLOW.maxDelayMs),
  /** A session on a slave that keeps its applier waiting (LOCK TABLES, FLUSH TABLES, a long read before a DDL) is killed; 0: none is. */
  kill_blockers_after_ms: z.int().min(0).max(3_600_000).default(DEFAULT_FLOW.killBlockersAfterMs),
});

/** How much of the replicated log this node keeps beyond what a member needs. Less: who was away longer has to be cloned. */
export const logSchema = z.strictObject({
  keep_hours: z
    .number()
    .positive()
    .max(87_600)
    .default(DEFAULT_PURGE.keepMs / HOUR_MS),
  keep_gib: z
    .number()
    .positive()
    .max(65_536)
    .default(DEFAULT_PURGE.keepBytes / GiB),
  /** A member that is dead or behind holds the log up to here; then it is left behind. More than keep_gib. */
  cap_gib: z
    .number()
    .positive()
    .max(65_536)
    .default(DEFAULT_PURGE.capBytes / GiB),
});

export const tlsSchema = z.strictObject({ ca: path, cert: path, key: path });

export const mysqldSchema = z.record(
  z.string().min(1),
  z.union([z.string(), z.number(), z.boolean(), z.array(z.string())]),
);

export const fileSchema = z.strictObject({
  cluster: name,
  node: z.int().min(1).max(NODE_ID_MAX),
  /** Everything this node keeps. Relative paths are relative to the configuration file. */
  data_dir: path,
  secret_file: path,
  /** Password root@'%' gets when the cluster elects its first master. Default: root.password in data_dir, made if missing. */
  root_password_file: path.optional(),
  /** Which MySQL server to run, as `cluster start` found it; without it every node looks for one itself. */
  mysql_install_file: path.optional(),
  /** Where nodes of one machine share a fresh MySQL data directory, so that only one of them has to make it. */
  mysql_template_dir: path.optional(),
  nodes: z.array(nodeSchema).min(1).max(NODES_MAX),
  join: joinSchema.optional(),
  lease: leaseSchema.prefault({}),
  flow: flowSchema.prefault({}),
  log: logSchema.prefault({}),
  proxy: proxySchema.prefault({}),
  recovery: recoverySchema.prefault({}),
  /** Goes to my.cnf; names the cluster depends on are refused. */
  mysqld: mysqldSchema.default({}),
  tls: tlsSchema.optional(),
});

export type ConfigFile = z.infer<typeof fileSchema>;

const TABLES: Readonly<Record<string, z.ZodObject>> = {
  '': fileSchema,
  flow: flowSchema,
  nodes: nodeSchema,
  join: joinSchema,
  lease: leaseSchema,
  log: logSchema,
  proxy: proxySchema,
  recovery: recoverySchema,
  tls: tlsSchema,
};

/** Names valid in the table at `path` (array indexes left out). */
export function namesAt(path: readonly PropertyKey[]): readonly string[] {
  const table = TABLES[path.filter((part) => typeof part === 'string').join('.')];
  return table === undefined ? [] : Object.keys(table.shape);
}
