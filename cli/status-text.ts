import type { ClusterStatus, NodeState } from './status.ts';

/** The status for people: a heading, a table, and what needs saying about each node. */
export function statusText(status: ClusterStatus): string {
  const rows = [
    ['node', 'state', 'rw', 'ro', 'dump', 'mysqld', 'executed', 'lag'],
    ...status.nodes.map((node) => [
      String(node.id),
      node.state,
      address(node.rw),
      address(node.ro),
      address(node.dump),
      node.pids.mysqld === null ? '-' : `pid ${node.pids.mysqld}`,
      node.executedIndex === null ? '-' : String(node.executedIndex),
      node.lagMs === null ? '-' : `${node.lagMs} ms`,
    ]),
  ];
  const reasons = status.nodes
    .map((node) => ({ id: node.id, said: [node.reason, logHeld(node)].filter((each) => each !== '').join('; ') }))
    .filter(({ said }) => said !== '')
    .map(({ id, said }) => `node ${id}: ${said}`);
  const remarks = [...flowText(status), ...status.warnings.map((warning) => `warning: ${warning}`), ...reasons];
  return [heading(status), '', ...columns(rows), ...(remarks.length > 0 ? ['', ...remarks] : [])].join('\n');
}

function flowText({ flow }: ClusterStatus): readonly string[] {
  if (flow === null) return [];
  if (flow.candidate === null) return ['no other node could become master now'];
  const { delayMs, candidate, candidateLagMs, predictedFailoverMs } = flow;
  const delayed = delayMs === 0 ? '' : `; commits are delayed by up to ${delayMs} ms`;
  const seconds = predictedFailoverMs === null ? 'not known yet' : `${(predictedFailoverMs / 1000).toFixed(1)} s`;
  return [
    `if the master dies: ${seconds} until node ${candidate} takes writes (${candidateLagMs} ms behind)${delayed}`,
  ];
}

export function heading(status: ClusterStatus): string {
  const master = status.master === null ? 'no master' : `master ${status.master}`;
  const lease = status.lease.holder === null ? 'no lease' : `lease ${status.lease.remainingMs} ms`;
  return `cluster ${status.cluster}: ${master}, epoch ${status.epoch}, ${lease}, log ${status.chosenIndex}`;
}

/** One line that changes only when something happened: what a log shows instead of a table. */
export function statusLine(status: ClusterStatus): string {
  const nodes = status.nodes.map((node) => `${node.id} ${node.state}${shortReason(node)}`).join(', ');
  return `${status.master === null ? 'no master' : `master ${status.master}`}, epoch ${status.epoch}: ${nodes}`;
}

const SERVING: ReadonlySet<NodeState['state']> = new Set(['master', 'slave', 'witness']);

/** All nodes are up and one serves writes. */
export function isReady(status: ClusterStatus): boolean {
  return status.master !== null && status.nodes.every((node) => SERVING.has(node.state));
}

/** Numbers in a reason (milliseconds, counts) would make every line different. */
function shortReason(node: NodeState): string {
  if (SERVING.has(node.state) || node.state === 'down' || node.reason === '') return '';
  return ` (${node.reason.replace(/\d+(\.\d+)?( ?ms| ?s)\b/g, '… ')})`.replace(/ +\)/, ')');
}

/** Said only where the log is longer than it was meant to be, or somebody fell behind it. */
function logHeld({ log }: NodeState): string {
  if (log === null) return '';
  const { heldBy, leftBehind, bytes, keepBytes, capBytes } = log;
  const size = `${gib(bytes)} of log on disk, ${gib(keepBytes)} meant, at most ${gib(capBytes)} for a member`;
  return [
    ...(heldBy === '' ? [] : [`keeps old log for ${heldBy} (${size})`]),
    ...(leftBehind.length === 0 ? [] : [`the log no longer waits for node ${leftBehind.join(', ')}: to be cloned`]),
  ].join('; ');
}

const gib = (bytes: number): string => `${(bytes / 1024 ** 3).toFixed(bytes < 1024 ** 3 ? 2 : 0)} GiB`;

const address = ({ host, port }: Readonly<{ host: string; port: number }>): string =>
  host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;

export function columns(rows: readonly (readonly string[])[]): readonly string[] {
  const widths = (rows[0] ?? []).map((_, i) => Math.max(...rows.map((row) => row[i]?.length ?? 0)));
  return rows.map((row) => `  ${row.map((cell, i) => cell.padEnd(widths[i] ?? 0)).join('  ')}`.trimEnd());
}
