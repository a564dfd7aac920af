import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { nodeId } from '../../../base/brands.ts';
import { DEFAULT_FLOW } from '../../../base/flow-policy.ts';
import { DEFAULT_PURGE } from '../../../binlogsvr/purge-policy.ts';
import { configChecksum, defaultWorkers, isLoopback, parseNodeConfig, readNodeConfig } from '../../../cli/config.ts';
import { renderNodeConfig } from '../../../cli/config-render.ts';
import { editDistance, nearest } from '../../../cli/nearest.ts';

const SECRET = 'a'.repeat(64);
const files = { secret: () => `${SECRET}\n`, readFile: (name: string) => `text of ${name}` };
const parse = (text: string) => parseNodeConfig(text, '/etc/phxsql/node.toml', files);

const HEAD = 'cluster = "c"\nnode = 1\ndata_dir = "data"\nsecret_file = "secret"\n';
const NODES = [1, 2, 3].map((id) => `[[nodes]]\nid = ${id}\nhost = "127.0.0.${id}"\n`).join('');
const GOOD = `${HEAD}${NODES}`;

describe('node configuration', () => {
  it('fills in the defaults of the design', () => {
    const config = parse(GOOD);
    expect(config.self).toEqual({
      id: 1,
      host: '127.0.0.1',
      rw: 54321,
      ro: 54322,
      dump: 6000,
      rpc: 17000,
      mysql: 11111,
      http: 18080,
    });
    expect(config.lease).toEqual({ leaseMs: 3000, renewMs: 500, takeoverMs: 3400 });
    expect(config.proxy).toMatchObject({ rwWaitMs: 8000, maxConnections: 10_000 });
    expect(config.dataDir).toBe('/etc/phxsql/data');
    expect(config.security).toEqual({ clusterSecret: SECRET, tls: null });
    expect(config.rootPasswordFile).toBe('/etc/phxsql/data/root.password');
  });

  it('is frozen all through', () => {
    const config = parse(GOOD);
    expect(() => Object.assign(config.lease, { leaseMs: 1 })).toThrow(TypeError);
    expect(() => Object.assign(config.nodes[0] ?? {}, { rw: 1 })).toThrow(TypeError);
  });

  it('derives renewal and takeover from another lease', () => {
    expect(parse(`${GOOD}[lease]\nlease_ms = 1000\n`).lease).toEqual({ leaseMs: 1000, renewMs: 166, takeoverMs: 1200 });
  });

  it('passes mysqld settings on, and refuses what the cluster rests on', () => {
    const { mysqld } = parse(`${GOOD}[mysqld]
max_connections = 500
local_infile = true
`);
    expect(mysqld).toEqual({ max_connections: 500, local_infile: true });
    expect(() =>
      parse(`${GOOD}[mysqld]
gtid_mode = "OFF"
`),
    ).toThrow(/gtid_mode/);
  });

  it('needs tls beyond loopback, and reads its files', () => {
    const remote = GOOD.replace('127.0.0.2', '10.0.0.2');
    expect(() => parse(remote)).toThrow(/tls: needed because 10\.0\.0\.2 is not a loopback address/);
    expect(parse(`${remote}[tls]\nca = "ca.pem"\ncert = "c.pem"\nkey = "k.pem"\n`).security.tls?.ca).toBe(
      'text of ca.pem',
    );
  });

  it('joins by [join] and the members it lists', () => {
    expect(parse(GOOD).join).toBeNull();
    expect(parse(`${GOOD}[join]\n`).join).toEqual({ kind: 'voter', election: 'neutral' });
    const as = (text: string) => parse(`${GOOD}[join]\n${text}`).join;
    expect(as('kind = "witness"')).toEqual({ kind: 'witness', election: 'neutral' });
    expect(as('election = "never"')).toEqual({ kind: 'voter', election: 'never' });
  });

  it('lets a candidate be a second behind, or what [flow] says', () => {
    expect(parse(GOOD).flow).toEqual(DEFAULT_FLOW);
    expect(
      parse(`${GOOD}[flow]\nmax_candidate_lag_ms = 2000\nmax_delay_ms = 0\nkill_blockers_after_ms = 0\n`).flow,
    ).toEqual({ maxCandidateLagMs: 2000, maxDelayMs: 0, killBlockersAfterMs: 0 });
  });

  it('keeps 72 hours, 4 GiB and at most 16 GiB of the log, or what [log] says', () => {
    expect(parse(GOOD).log).toEqual(DEFAULT_PURGE);
    expect(parse(`${GOOD}[log]\nkeep_hours = 0.5\nkeep_gib = 0.25\ncap_gib = 1\n`).log).toEqual({
      keepMs: 1_800_000,
      keepBytes: 2 ** 28,
      capBytes: 2 ** 30,
    });
  });

  const bad: readonly (readonly [string, string, RegExp])[] = [
    ['an unknown name', `datadir = "x"\n${GOOD}`, /datadir: no such setting \(did you mean data_dir\?\)/],
    [
      'an unknown name in a table',
      `${GOOD}[lease]\nleas_ms = 1\n`,
      /lease\.leas_ms: no such setting \(did you mean lease_ms\?\)/,
    ],
    [
      'an unknown name in a node',
      `${HEAD}[[nodes]]\nid = 1\nhots = "::1"\nhost = "::1"\n`,
      /nodes\[1\]\.hots: .*did you mean host\?/,
    ],
    ['a name like none', `${GOOD}[proxy]\nzzzzzzzz = 1\n`, /valid names: workers, rw_wait_ms, max_connections/],
    ['broken TOML', `${GOOD}[lease\n`, /node\.toml:\d+:\d+: /],
    ['an absent name', GOOD.replace('cluster = "c"\n', ''), /cluster: /],
    [
      'a node not listed',
      GOOD.replace('node = 1', 'node = 9'),
      /node: 9 is not among the ids of \[\[nodes\]\] \(1, 2, 3\)/,
    ],
    ['an id twice', GOOD.replace('id = 2', 'id = 1'), /id 1 is given twice/],
    ['an address twice', GOOD.replace('127.0.0.2', '127.0.0.1'), /127\.0\.0\.1:54321 is given twice/],
    ['an id out of range', GOOD.replace('id = 2', 'id = 256'), /nodes\[2\]\.id: /],
    ['a port out of range', GOOD.replace('id = 2', 'id = 2\nrw = 70000'), /nodes\[2\]\.rw: /],
    ['no nodes', HEAD, /nodes: /],
    ['a takeover too soon', `${GOOD}[lease]\ntakeover_ms = 3399\n`, /takeover_ms: 3399 must be at least .* = 3400/],
    [
      'a renewal too rare',
      `${GOOD}[lease]\nrenew_ms = 1500\n`,
      /renew_ms: 1500 must be less than half of lease_ms = 3000/,
    ],
    ['an unknown name in [join]', `${GOOD}[join]\nknid = "voter"\n`, /join\.knid: .*did you mean kind\?/],
    ['an unknown kind', `${GOOD}[join]\nkind = "observer"\n`, /join\.kind: .*voter.*learner.*witness/],
    ['an elected witness', `${GOOD}[join]\nkind = "witness"\nelection = "prefer"\n`, /join\.election: only a voter/],
    [
      'nobody to ask',
      `${HEAD}[[nodes]]\nid = 1\nhost = "::1"\n[join]\n`,
      /join: \[\[nodes\]\] must list at least one member/,
    ],
    ['an unknown name in [log]', `${GOOD}[log]\nkeep_hour = 1\n`, /log\.keep_hour: .*did you mean keep_hours\?/],
    ['a log without room', `${GOOD}[log]\ncap_gib = 4\n`, /log\.cap_gib: 4 must be more than keep_gib = 4/],
    [
      'a delay as long as a failover',
      `${GOOD}[lease]\nlease_ms = 900\n`,
      /flow\.max_delay_ms: 500 must be at most half of lease_ms = 450/,
    ],
    ['a lag that cannot be told', `${GOOD}[flow]\nmax_candidate_lag_ms = 100\n`, /flow\.max_candidate_lag_ms: /],
    ['a delay that looks like a stuck master', `${GOOD}[flow]\nmax_delay_ms = 1500\n`, /flow\.max_delay_ms: /],
    ['no log at all', `${GOOD}[log]\nkeep_hours = 0\n`, /log\.keep_hours: /],
    ['a fraction', `${GOOD}[lease]\nlease_ms = 3000.5\n`, /lease\.lease_ms: /],
  ];
  it.each(bad)('refuses %s', (_, text, message) => {
    expect(() => parse(text)).toThrow(message);
    expect(() => parse(text)).toThrow(expect.objectContaining({ code: 'CONFIG_INVALID' }));
  });

  it('names all faults at once', () => {
    expect(() => parse(`${GOOD}[lease]\ntakeover_ms = 1\nrenew_ms = 2999\n`)).toThrow(/takeover_ms.*\n.*renew_ms/);
  });
});

describe('configuration files', () => {
  let dir = '';
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'phxsql-config-'));
    writeFileSync(join(dir, 'node.toml'), GOOD);
    writeFileSync(join(dir, 'secret'), `${SECRET}\n`, { mode: 0o600 });
  });
  afterEach(() => rmSync(dir, { recursive: true }));

  it('are read from where the configuration lies', () => {
    expect(readNodeConfig(join(dir, 'node.toml')).security.clusterSecret).toBe(SECRET);
  });

  it.each([0o640, 0o604, 0o660])('are refused if others may read the secret (%o)', (mode) => {
    chmodSync(join(dir, 'secret'), mode);
    expect(() => readNodeConfig(join(dir, 'node.toml'))).toThrow(/lets others read it/);
  });

  it('are refused with a short secret', () => {
    writeFileSync(join(dir, 'secret'), 'short\n');
    expect(() => readNodeConfig(join(dir, 'node.toml'))).toThrow(/5 characters, at least 32 needed/);
  });

  it('are named when missing', () => {
    expect(() => readNodeConfig(join(dir, 'other.toml'))).toThrow(/read config .*other\.toml: ENOENT/);
    rmSync(join(dir, 'secret'));
    expect(() => readNodeConfig(join(dir, 'node.toml'))).toThrow(/read secret .*secret: ENOENT/);
  });
});

describe('what nodes must agree on', () => {
  const checksum = (text: string) => configChecksum(parse(text));

  it('is the cluster and the lease', () => {
    const same = checksum(GOOD);
    expect(checksum(GOOD.replace('cluster = "c"', 'cluster = "d"'))).not.toBe(same);
    expect(checksum(`${GOOD}[lease]\nlease_ms = 4000\n`)).not.toBe(same);
  });

  it('is not what may differ, nor the nodes: who belongs is in the log', () => {
    const same = checksum(GOOD);
    expect(checksum(GOOD.replace('127.0.0.2', '127.0.0.9'))).toBe(same);
    expect(checksum(GOOD.replace('id = 2', 'id = 2\nrpc = 1'))).toBe(same);
    expect(checksum(GOOD.replace('node = 1', 'node = 2'))).toBe(same);
    expect(checksum(`${GOOD}[proxy]\nworkers = 9\n`)).toBe(same);
    const reversed = [3, 2, 1].map((id) => `[[nodes]]\nid = ${id}\nhost = "127.0.0.${id}"\n`).join('');
    expect(checksum(`${HEAD}${reversed}`)).toBe(same);
  });
});

it('a rendered configuration is read back as it was meant', () => {
  const { nodes } = parse(GOOD);
  const text = renderNodeConfig({
    cluster: 'c',
    node: nodeId(2),
    nodes,
    dataDir: '.',
    secretFile: '../cluster.secret',
    rootPasswordFile: '../root.password',
    mysqlInstallFile: '../mysql.json',
    mysqlTemplateDir: '../template',
    settings: { recovery: { reprovision: 'off' } },
  });
  const config = parse(text);
  expect(config.recovery.mode).toBe('off');
  expect(config).toMatchObject({ cluster: 'c', node: 2, nodes, dataDir: '/etc/phxsql' });
  expect(config.rootPasswordFile).toBe('/etc/root.password');
});

it.each([
  [1, 1],
  [2, 1],
  [4, 2],
  [64, 4],
])('%i cores run %i proxy workers by default', (cores, workers) => {
  expect(defaultWorkers(cores)).toBe(workers);
});

it.each([
  ['127.0.0.1', true],
  ['127.1.2.3', true],
  ['::1', true],
  ['localhost', true],
  ['128.0.0.1', false],
  ['127.0.0.1.example', false],
  ['db1', false],
])('loopback %s: %s', (host, expected) => {
  expect(isLoopback(host)).toBe(expected);
});

it('the nearest name is close or none', () => {
  expect(editDistance('kitten', 'sitting')).toBe(3);
  expect(editDistance('ab', 'ba')).toBe(1);
  expect(nearest('wrokers', ['workers', 'rw_wait_ms'])).toBe('workers');
  expect(nearest('something_else', ['workers', 'rw_wait_ms'])).toBeNull();
});
