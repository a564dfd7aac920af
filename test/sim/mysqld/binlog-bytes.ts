import {
  EVENT_FLAG_IN_USE,
  EVENT_TYPE,
  encodeEvent,
  eventCrc,
  parseEventHeader,
  parseGtidEvent,
  parseQuery,
} from '../../../mysql/binlog-event.ts';
import { formatGtid, uuidToBytes } from '../../../mysql/gtid.ts';
import { encodeLenenc, u16le, u32le, u64le } from '../../../mysql/lenenc.ts';

/** What a transaction of the simulated engine does: each key gets this value. */
export type Writes = Readonly<Record<string, string>>;
export type LoggedTransaction = Readonly<{ gtid: string; writes: Writes }>;
/** As the log knows it: the same number with another checksum is another transaction. */
export type CutTransaction = LoggedTransaction & Readonly<{ crc: number }>;

const SERVER_VERSION = '9.7.4';
/** Of 9.x: one per event type up to GTID_TAGGED. What they say is of no interest here. */
const POST_HEADER_LENGTHS = Buffer.alloc(42, 0);

/** In use until `closed` rewrites it. */
export function encodeFormatDescription(serverId: number, timestamp: number, start: number): Buffer {
  const version = Buffer.alloc(50);
  version.write(SERVER_VERSION);
  const body = [u16le(4), version, u32le(timestamp), Buffer.from([19]), POST_HEADER_LENGTHS, Buffer.from([1])];
  const event = encodeEvent({
    type: EVENT_TYPE.FORMAT_DESCRIPTION,
    serverId,
    timestamp,
    flags: EVENT_FLAG_IN_USE,
    body: Buffer.concat(body),
  });
  return placed(event, start);
}

/** `gtid event | query (the writes as JSON) | xid`, whose first byte goes to `start` of its file. */
export function encodeTransaction(
  transaction: Readonly<{
    uuid: string;
    gno: number;
    writes: Writes;
    serverId: number;
    timestamp: number;
    sequence: number;
    start: number;
  }>,
): Buffer {
  const { uuid, gno, writes, serverId, timestamp, sequence, start } = transaction;
  const sql = Buffer.from(JSON.stringify(writes));
  const queryBody = [u32le(1), u32le(0), Buffer.from([0]), u16le(0), u16le(0), Buffer.from([0]), sql];
  const query = encodeEvent({ type: EVENT_TYPE.QUERY, serverId, timestamp, body: Buffer.concat(queryBody) });
  const xid = encodeEvent({ type: EVENT_TYPE.XID, serverId, timestamp, body: u64le(sequence) });
  const gtid = (length: number): Buffer =>
    encodeEvent({
      type: EVENT_TYPE.GTID,
      serverId,
      timestamp,
      body: Buffer.concat([
        Buffer.from([0]),
        uuidToBytes(uuid),
        u64le(gno),
        Buffer.from([2]),
        u64le(sequence - 1),
        u64le(sequence),
        u64le(timestamp * 1_000_000).subarray(0, 7),
        encodeLenenc(length),
        u32le(90_704),
      ]),
    });
  const rest = query.length + xid.length;
  // Its own size depends on how many bytes the length takes.
  let head = gtid(rest);
  for (let before = 0; before !== head.length; ) {
    before = head.length;
    head = gtid(rest + before);
  }
  const events = [head, query, xid];
  let end = start;
  return Buffer.concat(
    events.map((event) => {
      const at = end;
      end += event.length;
      return placed(event, at);
    }),
  );
}

/** The event as it stands at `start` of a file: it says where it ends. */
export function placed(event: Buffer, start: number): Buffer {
  event.writeUInt32LE(start + event.length, 13);
  event.writeUInt32LE(eventCrc(event), event.length - 4);
  return event;
}

/** A transaction's events back into what it does; throws if they are not one. */
export function decodeTransaction(events: readonly Buffer[]): LoggedTransaction {
  const first = events[0];
  if (first === undefined) throw new Error('a transaction without events');
  const { gtid } = parseGtidEvent(first);
  if (gtid === null) throw new Error('a transaction without GTID');
  let writes: Writes = {};
  for (const event of events) {
    if (parseEventHeader(event).type === EVENT_TYPE.QUERY) writes = JSON.parse(parseQuery(event).sql) as Writes;
  }
  return { gtid: formatGtid(gtid), writes };
}
