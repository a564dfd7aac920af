import { ruleHolds } from '../base/rules.ts';
import { votersOf } from './membership.ts';
import type { PeerHello, Software } from './peer-transport.ts';
import type { ReplicatedState } from './state-types.ts';

/**
 * MySQL replicates from an older series to a newer one, never back. While nodes are upgraded one after the other the older ones
 * go first therefore: who is newer than a voter that is alive is not elected. `phxsql upgrade finalize` ends that: the log says
 * which series all have reached.
 *
 *   8.4 8.4 8.4 ─► 9.7 8.4 8.4: 1 is not elected ─► 9.7 9.7 (8.4 stopped): either is ─► 9.7 9.7 9.7 ─► finalize: 9.7 for ever
 */

/** `9.7` of `9.7.4`; '' of what is no version (a witness has none). */
export function seriesOf(version: string): string {
  return /^(\d{1,3}\.\d{1,3})(\.|$)/.exec(version)?.[1] ?? '';
}

/** Below 0: `a` is the older one. */
export function compareSeries(a: string, b: string): number {
  const [x = [], y = []] = [a, b].map((each) => each.split('.').map(Number));
  return (x[0] ?? 0) - (y[0] ?? 0) || (x[1] ?? 0) - (y[1] ?? 0);
}

/** Why a node with this MySQL may not be master now, or null. */
export function seriesObjection(
  own: Software | undefined,
  state: Pick<ReplicatedState, 'members' | 'mysqlSeries'>,
  connected: readonly PeerHello[],
): string | null {
  const series = seriesOf(own?.mysql ?? '');
  if (series === '' || !ruleHolds('newer-mysql-waits')) return null;
  if (state.mysqlSeries !== '' && compareSeries(series, state.mysqlSeries) < 0) {
    return `its MySQL ${series} is older than ${state.mysqlSeries}, which the upgrade was finalized with`;
  }
  if (state.mysqlSeries !== '' && compareSeries(series, state.mysqlSeries) === 0) return null;
  const voters = votersOf(state.members);
  for (const { node, storeId, runs } of connected) {
    const other = seriesOf(runs?.mysql ?? '');
    if (other === '' || compareSeries(other, series) >= 0) continue;
    if (!voters.some((voter) => voter.node === node && voter.storeId === storeId)) continue;
    return `its MySQL ${series} is newer than node ${node}'s (${other}), which could not follow it; upgrade that, then phxsql upgrade finalize`;
  }
  return null;
}

/** The series all members have reached, or why there is none to be finalized. */
export function seriesToFinalize(
  self: number,
  own: Software | undefined,
  state: Pick<ReplicatedState, 'members' | 'mysqlSeries'>,
  connected: readonly PeerHello[],
): Readonly<{ series: string } | { series: null; reason: string }> {
  const no = (reason: string) => ({ series: null, reason });
  const found = new Map<number, string>();
  for (const { node, storeId, kind } of state.members) {
    const hello = connected.find((each) => each.node === node && each.storeId === storeId);
    const runs = node === self ? own : hello?.runs;
    if (node !== self && hello === undefined) return no(`node ${node} is not connected`);
    if (runs === undefined || runs.build === '')
      return no(`node ${node} runs a version of ours that does not know of upgrades`);
    const series = seriesOf(runs.mysql);
    if (series === '' && kind !== 'witness') return no(`node ${node} does not say which MySQL it has`);
    if (series !== '') found.set(node, series);
  }
  const [lowest] = [...found].sort((a, b) => compareSeries(a[1], b[1]));
  if (lowest === undefined) return no('no member has MySQL');
  const newer = [...found].filter(([, series]) => compareSeries(series, lowest[1]) > 0);
  if (newer.length > 0) {
    const who = newer.map(([node, series]) => `node ${node} ${series}`).join(', ');
    return no(`node ${lowest[0]} still runs MySQL ${lowest[1]} (${who}): upgrade it first`);
  }
  if (state.mysqlSeries !== '' && compareSeries(lowest[1], state.mysqlSeries) <= 0)
    return no(`finalized already: MySQL ${state.mysqlSeries}`);
  return { series: lowest[1] };
}
