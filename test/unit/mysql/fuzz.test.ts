import { expect, it } from 'vitest';
import { encodeBinlogDump } from '../../../mysql/command.ts';
import { mysqlTargets } from '../../fuzz/mysql-targets.ts';
import { fuzz, MUTATIONS, SEED } from '../../fuzz/run.ts';
import { BINLOGS, DUMPS, eventsOf, expected, fixture, packetsOf, STREAMS } from './fixtures.ts';

const targets = mysqlTargets({
  streams: STREAMS.map(fixture),
  login: STREAMS.filter((name) => name.startsWith('login')).flatMap((name) => packetsOf(fixture(name))),
  answers: ['ok', 'err', 'rows'].flatMap((name) => packetsOf(fixture(`${name}.server.bin`))),
  commands: [
    ...packetsOf(fixture('replica.client.bin')).slice(1),
    encodeBinlogDump({ flags: 0, serverId: 1, file: 'mysql-bin.000001', position: 4 }),
  ],
  dumpPackets: DUMPS.flatMap((name) => packetsOf(fixture(name))),
  events: DUMPS.flatMap(eventsOf),
  binlogs: BINLOGS.map(fixture),
  gtidSets: [expected.gtidExecuted, expected.half, `${expected.serverUuid}:1-3:5:9-100`],
});

it.each(targets)(`$name takes damaged input (seed ${SEED})`, { timeout: 3_600_000 }, (target) => {
  expect(target.samples.length).toBeGreaterThan(0);
  const tally = fuzz(target, SEED, MUTATIONS);
  expect(tally.refused, 'nothing was refused: the mutations do not reach it').toBeGreaterThan(0);
});

it('rings the alarm: a parser that breaks is found', () => {
  const broken = {
    name: 'broken',
    samples: [Buffer.from('abcd')],
    run: (bytes: Uint8Array) => void bytes[0]!.toFixed(),
  };
  expect(() => fuzz(broken, 1, 1000)).toThrow(/^broken, seed 1, mutation \d+: TypeError/);
});
