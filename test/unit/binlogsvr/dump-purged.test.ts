import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { epochOf } from '../../../base/brands.ts';
import { type DumpStart, DumpStream } from '../../../binlogsvr/dump-stream.ts';
import type { ReplicatedState } from '../../../binlogsvr/state-types.ts';
import { decodeValue } from '../../../binlogsvr/value-codec.ts';
import { GtidSet } from '../../../mysql/gtid-set.ts';
import { MemoryLog } from '../../support/memory-log.ts';
import { crcOf, UUID } from './replica-world.ts';

const EVENT_BYTES = 100;
const GONE = { code: 'PURGED', message: 'Could not find first log file name in binary log index file' };

/** An event of EVENT_BYTES at `position` of its file. */
function eventAt(position: number): Buffer {
  const event = Buffer.alloc(EVENT_BYTES);
  event.writeUInt32LE(1_700_000_000, 0);
  event[4] = 2;
  event.writeUInt32LE(7, 5);
  event.writeUInt32LE(EVENT_BYTES, 9);
  event.writeUInt32LE(position + EVENT_BYTES, 13);
  return event;
}

/** Two files of five transactions each, from position 200 on; the log begins after the second of file 2. */
const recorded = readFileSync(join(import.meta.dirname, '../../../mysql/testdata/binlog.000001'));
const formatDescription = recorded.subarray(4, 4 + recorded.readUInt32LE(13));

class PurgedLog extends MemoryLog {
  #base: ReplicatedState = this.state;

  static make(): PurgedLog {
    const log = new PurgedLog();
    for (const bytes of MemoryLog.elected().values) log.apply(decodeValue(bytes));
    let gno = 0;
    for (const name of ['binlog.000001', 'binlog.000002']) {
      const file = { kind: 'file', name, formatDescription } as const;
      for (let i = 0; i < 5; i += 1) {
        gno += 1;
        const events = eventAt(200 + i * EVENT_BYTES);
        const part = {
          kind: 'part',
          gtid: `${UUID}:${gno}`,
          first: true,
          last: true,
          crc: crcOf(events),
          events,
        } as const;
        log.apply({ kind: 'append', epoch: epochOf(1), follows: gno - 1, items: i === 0 ? [file, part] : [part] });
        if (gno === 7) log.#base = log.state;
      }
    }
    return log;
  }

  override async sampleFor(set: GtidSet | null): Promise<{ state: ReplicatedState }> {
    return set === null ? { state: this.#base } : super.sampleFor(set);
  }
}

async function transactions(start: DumpStart): Promise<number> {
  const stream = await DumpStream.open(PurgedLog.make(), start, { serverId: 9, crc: true });
  let count = 0;
  for await (const events of stream.events()) if (events[0]?.length === EVENT_BYTES) count += 1;
  return count;
}

const file = (name: string, position: number): DumpStart => ({ kind: 'file', name, position });

test('a tool that asks by file and position gets all behind it or an error, never a gap', async () => {
  expect(await transactions(file('', 4))).toBe(3);
  expect(await transactions(file('1-binlog.000002', 400))).toBe(3);
  expect(await transactions(file('1-binlog.000002', 500))).toBe(2);
  await expect(transactions(file('1-binlog.000002', 300))).rejects.toMatchObject(GONE);
  await expect(transactions(file('1-binlog.000002', 4))).rejects.toMatchObject(GONE);
  await expect(transactions(file('1-binlog.000001', 4))).rejects.toMatchObject(GONE);
});

test('one that asks by GTID hears what it lacks', async () => {
  const has = GtidSet.parse(`${UUID}:1-6`);
  await expect(transactions({ kind: 'gtid', has })).rejects.toMatchObject({
    message: expect.stringContaining(`is '${UUID}:1-6', and the missing transactions are '${UUID}:7'`),
  });
  expect(await transactions({ kind: 'gtid', has: GtidSet.parse(`${UUID}:1-7`) })).toBe(3);
});

test('in a file that has just begun a heartbeat names the end of its format description, which the replica has counted', async () => {
  const log = MemoryLog.elected();
  const stream = await DumpStream.open(log, { kind: 'gtid', has: GtidSet.EMPTY }, { serverId: 9, crc: true });
  log.apply({
    kind: 'append',
    epoch: epochOf(1),
    follows: 0,
    items: [{ kind: 'file', name: 'binlog.000001', formatDescription }],
  });
  for await (const _ of stream.events());
  expect(stream.at).toEqual({ file: '1-binlog.000001', position: 4 + formatDescription.length });
});

test('a log that goes on with nothing to send says so, that a heartbeat may be', async () => {
  const log = MemoryLog.elected();
  const stream = await DumpStream.open(log, { kind: 'gtid', has: GtidSet.EMPTY }, { serverId: 9, crc: true });
  const pieces: number[] = [];
  log.apply({ kind: 'renew', epoch: epochOf(1), renewal: 1 });
  for await (const events of stream.events()) pieces.push(events.length);
  expect(pieces).toEqual([0]);
});
