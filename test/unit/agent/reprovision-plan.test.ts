import { describe, expect, test } from 'vitest';
import { chooseDonor, type DonorQuestion, type NodeLook, sameSeries } from '../../../agent/clone-donor.ts';
import { progressOf } from '../../../agent/host/local-clone.ts';
import { parseJournal } from '../../../agent/host/reprovision-journal.ts';
import {
  COPY_BYTES_MORE,
  type DataFacts,
  describeProgress,
  dispose,
  pauseAfter,
  type ReprovisionJournal,
  stallMs,
} from '../../../agent/reprovision-plan.ts';
import type { AgentReport } from '../../../proto/binlogsvr-types.ts';

const U = '11111111-1111-1111-1111-111111111111';
const GiB = 1024 ** 3;

function look(node: number, executed: string, executedIndex: number, more: Partial<AgentReport> = {}): NodeLook {
  const agent = {
    role: 'replica',
    servingReads: true,
    mysqldPid: 40 + node,
    mysqlVersion: '9.7.4',
    gtidExecuted: executed,
    ...more,
  } as AgentReport;
  return { node, host: `h${node}`, port: 11111, answer: { agent, logSet: `${U}:1-100`, executedIndex }, error: '' };
}
const master = (node: number, executed: string, index: number): NodeLook =>
  look(node, executed, index, { role: 'master', servingReads: false, servingWrites: true });

const ask = (looks: readonly NodeLook[], more: Partial<DonorQuestion> = {}) =>
  chooseDonor({ looks, mysqlVersion: '9.7.4', purged: `${U}:1-50`, holdsData: true, failures: new Map(), ...more });

describe('whom to copy from', () => {
  test('the freshest slave, the master only without one', () => {
    const looks = [master(1, `${U}:1-100`, 100), look(2, `${U}:1-90`, 90), look(3, `${U}:1-95`, 95)];
    expect(ask(looks).donor).toEqual({
      node: 3,
      host: 'h3',
      port: 11111,
      master: false,
      gtidExecuted: `${U}:1-95`,
      mysqldPid: 43,
    });
    expect(ask(looks.slice(0, 1)).donor).toMatchObject({ node: 1, master: true });
  });

  test('one that failed comes after the others; slaves that failed twice after the master', () => {
    const looks = [master(1, `${U}:1-100`, 100), look(2, `${U}:1-90`, 90), look(3, `${U}:1-95`, 95)];
    const chosen = (failures: readonly [number, number][]) => ask(looks, { failures: new Map(failures) }).donor?.node;
    expect(chosen([[3, 1]])).toBe(2);
    expect(
      chosen([
        [3, 1],
        [2, 1],
      ]),
    ).toBe(3);
    expect(
      chosen([
        [3, 3],
        [2, 3],
      ]),
    ).toBe(1);
    expect(
      chosen([
        [3, 3],
        [2, 3],
        [1, 2],
      ]),
    ).toBe(3);
  });

  test.each<[string, NodeLook, RegExp]>([
    ['dead', { node: 2, host: 'h', port: 1, answer: null, error: 'refused' }, /cannot be asked \(refused\)/],
    ['agent gone', { ...look(2, '', 1), answer: { agent: null, logSet: '', executedIndex: 0 } }, /does not report/],
    ['not healthy', look(2, `${U}:1-90`, 90, { servingReads: false }), /not healthy \(replica\)/],
    ['diverged', look(2, `${U}:1-90`, 90, { role: 'failed', servingReads: false }), /not healthy \(failed\)/],
    ['another series', look(2, `${U}:1-90`, 90, { mysqlVersion: '8.4.3' }), /takes no copy/],
    ['of an old agent', look(2, `${U}:1-90`, 90, { mysqlVersion: '' }), /unknown version/],
    ['lacks what was purged', look(2, `${U}:1-49`, 49), /lacks what the log no longer holds/],
    ['executed more than its log', look(2, `${U}:1-101`, 101), /what its log does not hold/],
  ])('not from one that is %s', (_, one, why) => {
    const { donor, refusal } = ask([one]);
    expect(donor).toBeNull();
    expect(refusal).toMatch(why);
  });

  test('where nobody has executed anything, what this node holds has no other copy', () => {
    const looks = [look(2, '', 0)];
    expect(ask(looks, { purged: '' }).donor).toBeNull();
    expect(ask(looks, { purged: '', holdsData: false }).donor).toMatchObject({ node: 2 });
    expect(ask([]).refusal).toBe('there is no other node');
  });

  test('of the same release series', () => {
    expect(sameSeries('9.7.4', '9.7.1')).toBe(true);
    expect(sameSeries('8.4.3', '8.4.0')).toBe(true);
    expect(sameSeries('8.4.3', '8.0.40')).toBe(false);
    expect(sameSeries('8.0.36', '8.0.36')).toBe(true);
    expect(sameSeries('8.0.36', '8.0.37')).toBe(false);
    expect(sameSeries('8.0.40', '8.0.37')).toBe(true);
  });
});

describe('what becomes of the old data', () => {
  const facts = (more: Partial<DataFacts> = {}): DataFacts => ({
    bytes: GiB,
    freeBytes: 9 * GiB,
    asideBytes: null,
    ...more,
  });
  const tight = facts({ freeBytes: GiB });

  test('diverged: set aside, in the place of what was set aside before', () => {
    expect(dispose('diverged', 'set-aside', facts())).toEqual({ do: 'set-aside' });
    expect(dispose('diverged', 'set-aside', { ...tight, asideBytes: COPY_BYTES_MORE })).toEqual({ do: 'set-aside' });
  });

  test('diverged and no room for both: nothing is touched, unless it may be erased', () => {
    expect(dispose('diverged', 'set-aside', tight)).toMatchObject({
      do: 'refuse',
      reason: /1\.0 GiB free, 1\.5 GiB/,
    });
    expect(dispose('diverged', 'erase', tight)).toEqual({ do: 'erase' });
  });

  test('behind: kept while that costs nothing; empty: erased', () => {
    expect(dispose('behind', 'set-aside', facts())).toEqual({ do: 'set-aside' });
    expect(dispose('behind', 'set-aside', tight)).toEqual({ do: 'erase' });
    // What was set aside before may be diverged data, which is worth more.
    expect(dispose('behind', 'set-aside', facts({ asideBytes: 1 }))).toEqual({ do: 'erase' });
    expect(dispose('empty', 'set-aside', facts())).toEqual({ do: 'erase' });
    expect(dispose('diverged', 'set-aside', facts({ bytes: 0 }))).toEqual({ do: 'erase' });
  });
});

describe('how far a copy is', () => {
  const row = (stage: string, state: string, estimate: number, data: number) => ({
    stage,
    state,
    estimate: String(estimate),
    data: String(data),
  });

  test('by the rows of clone_progress', () => {
    expect(progressOf([])).toBeNull();
    const rows = [
      row('DROP DATA', 'Completed', 0, 0),
      row('FILE COPY', 'In Progress', 3 * GiB, GiB),
      row('PAGE COPY', 'Not Started', 0, 0),
    ];
    expect(progressOf(rows)).toEqual({ stage: 'FILE COPY', doneBytes: GiB, estimateBytes: 3 * GiB });
    expect(progressOf([row('DROP DATA', 'Completed', 0, 0)])?.stage).toBe('DROP DATA');
  });

  test('in words', () => {
    const at = (stage: string, doneBytes: number) =>
      describeProgress({ node: 2 }, { stage, doneBytes, estimateBytes: 2.8 * GiB }, 10_000);
    expect(at('FILE COPY', 1.4 * GiB)).toBe('clones from node 2: 50 % (1.4 of 2.8 GiB), about 10 s left');
    expect(describeProgress({ node: 3 }, { stage: 'FILE COPY', doneBytes: 7e6, estimateBytes: 7.2e7 }, 2000)).toBe(
      'clones from node 3: 9 % (6.7 of 68.7 MiB), about 19 s left',
    );
    expect(at('FILE COPY', 0)).toBe('clones from node 2: 0 % (0.0 of 2.8 GiB)');
    expect(at('FILE COPY', 0.01 * GiB)).toMatch(/about 47 min left$/);
    expect(at('FILE SYNC', 2.8 * GiB)).toBe('clones from node 2: 100 % (2.8 of 2.8 GiB), file sync');
    expect(describeProgress({ node: 2 }, { stage: '', doneBytes: 0, estimateBytes: 0 }, 5)).toMatch(/begins$/);
  });

  test('a master is waited for less long, local work longer', () => {
    const stage = (name: string) => ({ stage: name, doneBytes: 1, estimateBytes: 2 });
    expect(stallMs({ master: true }, stage('FILE COPY'))).toBeLessThan(stallMs({ master: false }, stage('FILE COPY')));
    expect(stallMs({ master: true }, stage('FILE SYNC'))).toBeGreaterThan(
      stallMs({ master: false }, stage('PAGE COPY')),
    );
  });
});

test('pauses grow, to a bound', () => {
  expect([1, 2, 3, 4, 5, 6, 99].map(pauseAfter)).toEqual([1000, 5000, 15_000, 60_000, 300_000, 300_000, 300_000]);
});

describe('the journal', () => {
  const journal: ReprovisionJournal = {
    version: 1,
    step: 'aside',
    reason: 'why',
    aside: 'set-aside-20261121T180000Z',
    donor: 2,
    base: `${U}:1-9`,
    attempts: 1,
  };

  test('is read as it was written', () => {
    expect(parseJournal(JSON.stringify(journal), 'x')).toEqual(journal);
  });

  test.each<[string, string]>([
    ['cut', JSON.stringify(journal).slice(0, 40)],
    ['empty', ''],
    ['of a later version', JSON.stringify({ ...journal, version: 2 })],
    ['of no step', JSON.stringify({ ...journal, step: 'erase' })],
    ['with another folder', JSON.stringify({ ...journal, aside: '../../home' })],
    ['null', 'null'],
  ])('%s: nothing is done by it', (_, text) => {
    expect(() => parseJournal(text, '/n/run/reprovision.json')).toThrow(
      /reprovision\.json: it is no re-provisioning journal/,
    );
  });
});
