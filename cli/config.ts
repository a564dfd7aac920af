import { createHash } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { parse, TomlError } from 'smol-toml';
import type { z } from 'zod';
import { checkUserSettings, type UserSettings } from '../agent/my-cnf.ts';
import type { ReprovisionPolicy } from '../agent/reprovision-plan.ts';
import { type NodeId, nodeId } from '../base/brands.ts';
import { PhxError, reasonOf } from '../base/errors.ts';
import type { FlowPolicy } from '../base/flow-policy.ts';
import { DEFAULT_LEASE, type LeaseTimes, type NodeAddress, type Security } from '../base/topology.ts';
import type { PurgePolicy } from '../binlogsvr/purge-policy.ts';
import type { ElectionRule, MemberKind } from '../proto/binlogsvr-types.ts';
import { type ConfigFile, fileSchema, GiB, HOUR_MS, namesAt } from './config-schema.ts';
import { nearest } from './nearest.ts';

/** One node's configuration, checked, with defaults filled in and paths absolute. Frozen. */
export type NodeConfig = Readonly<{
  file: string;
  cluster: string;
  node: NodeId;
  self: NodeAddress;
  nodes: readonly NodeAddress[];
  dataDir: string;
  security: Security;
  rootPasswordFile: string;
  mysqlInstallFile: string | null;
  mysqlTemplateDir: string | null;
  /** It joins a cluster there is, as what; null: a founder, or a member by the log. */
  join: JoinConfig | null;
  lease: LeaseTimes;
  flow: FlowPolicy;
  log: PurgePolicy;
  proxy: Readonly<{ workers: number; rwWaitMs: number; maxConnections: number }>;
  recovery: ReprovisionPolicy;
  mysqld: UserSettings;
}>;

export type JoinConfig = Readonly<{ kind: MemberKind; election: ElectionRule }>;

/** Shorter could be guessed; `openssl rand -hex 32` makes 64. */
export const SECRET_LENGTH_MIN = 32;

/** Reads the file and all it names. Throws CONFIG_INVALID with every fault found, one a line. */
export function readNodeConfig(file: string): NodeConfig {
  const path = resolve(file);
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    throw new PhxError('CONFIG_INVALID', `read config ${path}: ${reasonOf(error)}`, { cause: error });
  }
  const base = dirname(path);
  return parseNodeConfig(text, path, {
    secret: (name) => readSecret(resolve(base, name)),
    readFile: (name) => readText(resolve(base, name)),
  });
}

/** What parseNodeConfig needs from disk, handed in for tests. */
export type ConfigFiles = Readonly<{ secret: (name: string) => string; readFile: (name: string) => string }>;

export function parseNodeConfig(text: string, path: string, files: ConfigFiles): NodeConfig {
  const base = dirname(path);
  const at = (name: string): string => resolve(base, name);
  const raw = validate(parseToml(text, path), path);
  const nodes = raw.nodes.map((node) => Object.freeze({ ...node, id: nodeId(node.id) }));
  const lease = leaseTimes(raw.lease);
  const faults = [
    ...nodeFaults(raw),
    ...joinFaults(raw),
    ...leaseFaults(lease),
    ...flowFaults(raw, lease),
    ...logFaults(raw),
    ...tlsFaults(raw),
  ];
  const self = nodes.find((node) => node.id === raw.node);
  if (self === undefined) {
    faults.push(`node: ${raw.node} is not among the ids of [[nodes]] (${nodes.map((node) => node.id).join(', ')})`);
  }
  if (faults.length > 0 || self === undefined) throw invalid(path, faults);
  checkUserSettings(raw.mysqld);
  const tls =
    raw.tls === undefined
      ? null
      : { ca: files.readFile(raw.tls.ca), cert: files.readFile(raw.tls.cert), key: files.secret(raw.tls.key) };
  return deepFreeze({
    file: path,
    cluster: raw.cluster,
    node: self.id,
    self,
    nodes,
    dataDir: at(raw.data_dir),
    security: { clusterSecret: clusterSecret(files.secret(raw.secret_file), at(raw.secret_file)), tls },
    rootPasswordFile:
      raw.root_password_file === undefined ? join(at(raw.data_dir), 'root.password') : at(raw.root_password_file),
    mysqlInstallFile: raw.mysql_install_file === undefined ? null : at(raw.mysql_install_file),
    mysqlTemplateDir: raw.mysql_template_dir === undefined ? null : at(raw.mysql_template_dir),
    join: raw.join ?? null,
    lease,
    flow: {
      maxCandidateLagMs: raw.flow.max_candidate_lag_ms,
      maxDelayMs: raw.flow.max_delay_ms,
      killBlockersAfterMs: raw.flow.kill_blockers_after_ms,
    },
    log: {
      keepMs: Math.round(raw.log.keep_hours * HOUR_MS),
      keepBytes: Math.round(raw.log.keep_gib * GiB),
      capBytes: Math.round(raw.log.cap_gib * GiB),
    },
    proxy: {
      workers: raw.proxy.workers ?? defaultWorkers(availableParallelism()),
      rwWaitMs: raw.proxy.rw_wait_ms,
      maxConnections: raw.proxy.max_connections,
    },
    recovery: {
      mode: raw.recovery.reprovision,
      divergedData: raw.recovery.diverged_data,
      cloneMaxMiBPerS: raw.recovery.clone_max_mib_per_s,
    },
    mysqld: raw.mysqld,
  });
}

export const defaultWorkers = (cores: number): number => Math.max(1, Math.min(4, Math.floor(cores / 2)));

/**
 * What all nodes must agree on: exchanged in hello, a mismatch is refused. Hex SHA-256. Not the nodes: founders agree on
 * them by binding to one list (binlogsvr/founding.ts), and after that the log says who belongs, whatever a file still says.
 */
export function configChecksum(config: Pick<NodeConfig, 'cluster' | 'lease'>): string {
  const agreed = {
    cluster: config.cluster,
    lease: [config.lease.leaseMs, config.lease.renewMs, config.lease.takeoverMs],
  };
  return createHash('sha256').update(JSON.stringify(agreed)).digest('hex');
}

/** The bytes of a file only its owner may read. CONFIG_INVALID if others may. */
export function readSecret(path: string): string {
  let mode: number;
  try {
    mode = statSync(path).mode & 0o777;
  } catch (error) {
    throw new PhxError('CONFIG_INVALID', `read secret ${path}: ${reasonOf(error)}`, { cause: error });
  }
  if ((mode & 0o077) !== 0) {
    throw new PhxError('CONFIG_INVALID', `read secret ${path}: mode 0${mode.toString(8)} lets others read it`, {
      hint: `chmod 600 ${path}`,
    });
  }
  return readText(path);
}

export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || /^127(\.\d{1,3}){3}$/.test(host);
}

/** The smallest time others may wait that is safe for a lease under the worst allowed clock drift. */
export const takeoverMsMin = (leaseMs: number): number => Math.ceil((leaseMs * 11) / 10 + 100);

function clusterSecret(text: string, path: string): string {
  const secret = text.trim();
  if (secret.length < SECRET_LENGTH_MIN) {
    throw new PhxError(
      'CONFIG_INVALID',
      `read secret ${path}: ${secret.length} characters, at least ${SECRET_LENGTH_MIN} needed`,
      {
        hint: 'the same file goes to every node; openssl rand -hex 32 makes a good one',
      },
    );
  }
  return secret;
}

function readText(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    throw new PhxError('CONFIG_INVALID', `read ${path}: ${reasonOf(error)}`, { cause: error });
  }
}

/** Throws CONFIG_INVALID with line and column. */
export function parseToml(text: string, path: string): Readonly<Record<string, unknown>> {
  try {
    return parse(text);
  } catch (error) {
    const where = error instanceof TomlError ? `:${error.line}:${error.column}` : '';
    const what = reasonOf(error).split('\n')[0] ?? '';
    throw new PhxError('CONFIG_INVALID', `read config ${path}${where}: ${what}`, { cause: error });
  }
}

function validate(value: unknown, path: string): ConfigFile {
  const result = fileSchema.safeParse(value);
  if (!result.success) throw invalid(path, result.error.issues.flatMap(describeIssue));
  return result.data;
}

function describeIssue(issue: z.core.$ZodIssue): readonly string[] {
  const where = pathText(issue.path);
  if (issue.code === 'unrecognized_keys') {
    const valid = namesAt(issue.path);
    return issue.keys.map((key) => {
      const close = nearest(key, valid);
      const known = close === null ? `valid names: ${valid.join(', ')}` : `did you mean ${close}?`;
      return `${where === '' ? '' : `${where}.`}${key}: no such setting (${known})`;
    });
  }
  return [`${where === '' ? 'file' : where}: ${issue.message.charAt(0).toLowerCase()}${issue.message.slice(1)}`];
}

function pathText(path: readonly PropertyKey[]): string {
  return path.reduce<string>((text, part) => {
    if (typeof part === 'number') return `${text}[${part + 1}]`;
    return text === '' ? String(part) : `${text}.${String(part)}`;
  }, '');
}

function invalid(path: string, faults: readonly string[]): PhxError {
  const list = faults.length === 1 ? ` ${faults[0]}` : faults.map((fault) => `\n  ${fault}`).join('');
  return new PhxError('CONFIG_INVALID', `read config ${path}:${list}`);
}

/** Ids and host:port pairs are unique: two listeners on one address would silently take each other's clients. */
function nodeFaults(raw: ConfigFile): string[] {
  const faults: string[] = [];
  const ids = new Set<number>();
  const taken = new Map<string, string>();
  for (const node of raw.nodes) {
    if (ids.has(node.id)) faults.push(`nodes: id ${node.id} is given twice`);
    ids.add(node.id);
    for (const what of ['rw', 'ro', 'dump', 'rpc', 'mysql', 'http'] as const) {
      const address = `${node.host}:${node[what]}`;
      const other = taken.get(address);
      if (other !== undefined)
        faults.push(`nodes: ${address} is given twice (${other} and ${what} of node ${node.id})`);
      taken.set(address, `${what} of node ${node.id}`);
    }
  }
  return faults;
}

function joinFaults({ join, nodes }: ConfigFile): string[] {
  if (join === undefined) return [];
  const faults: string[] = [];
  if (nodes.length < 2) faults.push('join: [[nodes]] must list at least one member of the cluster beside this node');
  if (join.kind !== 'voter' && join.election !== 'neutral') {
    faults.push(`join.election: only a voter is elected, not a ${join.kind}`);
  }
  return faults;
}

function logFaults({ log }: ConfigFile): string[] {
  if (log.cap_gib > log.keep_gib) return [];
  return [`log.cap_gib: ${log.cap_gib} must be more than keep_gib = ${log.keep_gib}`];
}

function leaseTimes(raw: ConfigFile['lease']): LeaseTimes {
  const leaseMs = raw.lease_ms ?? DEFAULT_LEASE.leaseMs;
  const renewMs = raw.renew_ms ?? Math.max(1, Math.floor((leaseMs * DEFAULT_LEASE.renewMs) / DEFAULT_LEASE.leaseMs));
  return { leaseMs, renewMs, takeoverMs: raw.takeover_ms ?? takeoverMsMin(leaseMs) };
}

/** The holder must have stopped before another may start, under the worst allowed drift; one lost renewal must not end a lease. */
function leaseFaults({ leaseMs, renewMs, takeoverMs }: LeaseTimes): string[] {
  const faults: string[] = [];
  const least = takeoverMsMin(leaseMs);
  if (takeoverMs < least)
    faults.push(`lease.takeover_ms: ${takeoverMs} must be at least lease_ms * 1.1 + 100 = ${least}`);
  if (renewMs * 2 >= leaseMs) faults.push(`lease.renew_ms: ${renewMs} must be less than half of lease_ms = ${leaseMs}`);
  return faults;
}

/** A delay is to slow clients down, not to have them wait as long as for a failover. */
function flowFaults({ flow }: ConfigFile, { leaseMs }: LeaseTimes): string[] {
  const most = Math.floor(leaseMs / 2);
  if (flow.max_delay_ms <= most) return [];
  return [`flow.max_delay_ms: ${flow.max_delay_ms} must be at most half of lease_ms = ${most}`];
}

function tlsFaults(raw: ConfigFile): string[] {
  if (raw.tls !== undefined) return [];
  const remote = raw.nodes.filter((node) => !isLoopback(node.host)).map((node) => node.host);
  if (remote.length === 0) return [];
  return [`tls: needed because ${remote.join(', ')} ${remote.length === 1 ? 'is' : 'are'} not a loopback address`];
}

function deepFreeze<T extends object>(value: T): T {
  for (const part of Object.values(value)) if (typeof part === 'object' && part !== null) deepFreeze(part);
  return Object.freeze(value);
}
