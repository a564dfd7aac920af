import { describe, expect, it } from 'vitest';
import {
  COMMAND,
  encodeBinlogDump,
  encodeBinlogDumpGtid,
  encodeQuery,
  encodeRegisterReplica,
  parseBinlogDump,
  parseBinlogDumpGtid,
  parseRegisterReplica,
} from '../../../mysql/command.ts';
import { GtidSet } from '../../../mysql/gtid-set.ts';
import { expected, fixture, packetsOf, phxError, truncate } from './fixtures.ts';

describe('what a real replica sends', () => {
  const packets = packetsOf(fixture('replica.client.bin')).slice(1);
  const register = packets.find((packet) => packet[0] === COMMAND.REGISTER_REPLICA)!;
  const dump = packets.find((packet) => packet[0] === COMMAND.BINLOG_DUMP_GTID)!;

  it('COM_REGISTER_REPLICA', () => {
    const replica = parseRegisterReplica(register);
    expect(replica).toMatchObject({ serverId: 7, host: '', user: '', password: '' });
    expect(encodeRegisterReplica(replica).subarray(0, -8).equals(register.subarray(0, -8))).toBe(true);
    truncate(register, parseRegisterReplica);
  });

  it('COM_BINLOG_DUMP_GTID with its executed set, tags included', () => {
    const parsed = parseBinlogDumpGtid(dump);
    expect(parsed).toMatchObject({ serverId: 7, file: '', position: 4 });
    const set = GtidSet.decode(parsed.gtidSet);
    expect(set.equals(GtidSet.parse(expected.gtidExecuted))).toBe(true);
    expect(set.encode().equals(parsed.gtidSet)).toBe(true);
    expect(encodeBinlogDumpGtid(parsed).equals(dump)).toBe(true);
    truncate(dump, (bytes) => GtidSet.decode(parseBinlogDumpGtid(bytes).gtidSet));
  });
});

it('COM_BINLOG_DUMP reads back', () => {
  const dump = { flags: 1, serverId: 4_000_000_000, file: 'mysql-bin.000007', position: 4 };
  expect(parseBinlogDump(encodeBinlogDump(dump))).toEqual(dump);
  truncate(encodeBinlogDump(dump), parseBinlogDump);
});

it('a command is not taken for another', () => {
  expect(phxError(() => parseBinlogDump(encodeQuery('x'))).message).toContain('begins with 3, not 18');
  expect(encodeQuery('SELECT 1').toString()).toBe('\x03SELECT 1');
});
