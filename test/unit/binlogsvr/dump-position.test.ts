import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { epochOf } from '../../../base/brands.ts';
import { DumpStream } from '../../../binlogsvr/dump-stream.ts';
import { parseEventHeader } from '../../../mysql/binlog-event.ts';
import { GtidSet } from '../../../mysql/gtid-set.ts';
import { MemoryLog } from '../../support/memory-log.ts';

const recorded = readFileSync(join(import.meta.dirname, '../../../mysql/testdata/binlog.000001'));
const formatDescription = recorded.subarray(4, 4 + recorded.readUInt32LE(13));

/** What a heartbeat would say, and the end of the last event that said where it ends. */
async function read(stream: DumpStream): Promise<{ heartbeat: number; sent: number }> {
  let sent = 0;
  for await (const events of stream.events()) {
    for (const event of events) sent = parseEventHeader(event, 0).logPos || sent;
  }
  return { heartbeat: stream.at.position, sent };
}

test('with nothing written since a file began, a heartbeat is not behind what was sent: a replica would stop', async () => {
  const log = MemoryLog.elected();
  const all = { kind: 'gtid', has: GtidSet.EMPTY } as const;
  const early = await DumpStream.open(log, all, { serverId: 9, crc: true });
  await read(early);
  const file = { kind: 'file', name: 'binlog.000001', formatDescription } as const;
  log.apply({ kind: 'append', epoch: epochOf(1), follows: 0, items: [file] });
  const { heartbeat, sent } = await read(early);
  expect(sent).toBe(4 + formatDescription.length);
  expect(heartbeat).toBe(sent);
  // One that begins there is sent the same event without a position.
  const late = await DumpStream.open(log, { kind: 'gtid', has: log.state.gtidSet }, { serverId: 9, crc: true });
  const again = await read(late);
  expect(again.heartbeat).toBeGreaterThanOrEqual(again.sent);
});
