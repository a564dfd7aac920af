import {
  checkEventCrc,
  EVENT_TYPE,
  eventCrc,
  formatDescriptionForDump,
  parseEventHeader,
  parseFormatDescription,
  parseGtidEvent,
  parseHeartbeat,
  parsePreviousGtids,
  parseQuery,
  parseRotate,
  parseTransactionPayload,
  parseXaPrepare,
  parseXid,
} from '../../mysql/binlog-event.ts';
import { BinlogFileScanner } from '../../mysql/binlog-file.ts';
import { COMMAND, parseBinlogDump, parseBinlogDumpGtid, parseRegisterReplica } from '../../mysql/command.ts';
import { formatGtid, parseGtid } from '../../mysql/gtid.ts';
import { GtidSet } from '../../mysql/gtid-set.ts';
import {
  encodeAuthSwitch,
  isSslRequest,
  parseAuthMoreData,
  parseAuthSwitch,
  parseHandshake,
  parseHandshakeResponse,
} from '../../mysql/handshake.ts';
import { PacketReader } from '../../mysql/packet.ts';
import { isErr, isOk, parseErr, parseOk, parseTextRow } from '../../mysql/result.ts';
import { ResultReader } from '../../mysql/result-reader.ts';
import { encodeAck, parseAck, parseDumpPacket } from '../../mysql/semi-sync.ts';
import { TransactionAssembler } from '../../mysql/transaction-stream.ts';
import type { FuzzTarget } from './target.ts';

/** What the targets are made from; the caller reads the recorded files (mysql/testdata). */
export type MysqlSamples = Readonly<{
  /** Packet streams: dumps, logins, answers. */
  streams: readonly Uint8Array[];
  /** The payloads in them. */
  login: readonly Uint8Array[];
  answers: readonly Uint8Array[];
  commands: readonly Uint8Array[];
  dumpPackets: readonly Uint8Array[];
  events: readonly Uint8Array[];
  binlogs: readonly Uint8Array[];
  gtidSets: readonly string[];
}>;

/** Size and checksum put right, so that damage reaches the decoders behind those checks. */
function repaired(bytes: Uint8Array): Uint8Array {
  if (bytes.length < 23) return bytes;
  const event = Buffer.from(bytes);
  event.writeUInt32LE(event.length, 9);
  event.writeUInt32LE(eventCrc(event), event.length - 4);
  return event;
}

/** Events of a damaged stream or file, each made valid again by itself. */
function repairedEvents(bytes: Uint8Array): Uint8Array[] {
  const out: Uint8Array[] = [];
  for (let at = 4; at + 23 <= bytes.length; ) {
    const size = Buffer.from(bytes).readUInt32LE(at + 9);
    const end = size < 23 || at + size > bytes.length ? bytes.length : at + size;
    out.push(repaired(bytes.subarray(at, end)));
    at = end;
  }
  return out;
}

const DECODERS = {
  'format description': [parseFormatDescription, [EVENT_TYPE.FORMAT_DESCRIPTION]],
  rotate: [parseRotate, [EVENT_TYPE.ROTATE]],
  'gtid event': [parseGtidEvent, [EVENT_TYPE.GTID, EVENT_TYPE.GTID_TAGGED]],
  'previous gtids': [parsePreviousGtids, [EVENT_TYPE.PREVIOUS_GTIDS]],
  query: [parseQuery, [EVENT_TYPE.QUERY]],
  xid: [parseXid, [EVENT_TYPE.XID]],
  heartbeat: [parseHeartbeat, [EVENT_TYPE.HEARTBEAT, EVENT_TYPE.HEARTBEAT_V2]],
  'transaction payload': [parseTransactionPayload, [EVENT_TYPE.TRANSACTION_PAYLOAD]],
  'xa prepare': [parseXaPrepare, [EVENT_TYPE.XA_PREPARE]],
} as const satisfies Record<string, readonly [(event: Uint8Array) => unknown, readonly number[]]>;

export function mysqlTargets(samples: MysqlSamples): readonly FuzzTarget[] {
  const ofType = (types: readonly number[]): Uint8Array[] =>
    samples.events.filter((event) => types.includes(event[4]!));
  const commandsOf = (command: number): Uint8Array[] => samples.commands.filter((payload) => payload[0] === command);
  const encodedSets = samples.gtidSets.map((text) => GtidSet.parse(text).encode());
  const texts = samples.gtidSets.map((text) => Buffer.from(text));
  const decoders = Object.entries(DECODERS).map(
    ([name, [decode, types]]): FuzzTarget => ({
      name,
      samples: ofType(types),
      run(bytes) {
        decode(repaired(bytes));
        decode(bytes);
      },
    }),
  );
  return [
    ...decoders,
    {
      name: 'packet reader',
      samples: samples.streams,
      run(bytes) {
        const reader = new PacketReader({ maxPayloadBytes: 1 << 20 });
        for (let at = 0; at < bytes.length; at += 100) {
          reader.push(bytes.subarray(at, at + 100));
          while (reader.next() !== null);
        }
      },
    },
    { name: 'handshake', samples: samples.login, run: (bytes) => void parseHandshake(bytes) },
    {
      name: 'handshake response',
      samples: samples.login,
      run(bytes) {
        isSslRequest(bytes);
        parseHandshakeResponse(bytes);
      },
    },
    {
      name: 'auth switch',
      samples: [encodeAuthSwitch({ plugin: 'mysql_native_password', scramble: Buffer.alloc(20, 7) }), ...samples.login],
      run(bytes) {
        if (bytes[0] === 1) parseAuthMoreData(bytes);
        parseAuthSwitch(bytes);
      },
    },
    {
      name: 'answers',
      samples: samples.answers,
      run(bytes) {
        if (isErr(bytes)) parseErr(bytes);
        if (isOk(bytes)) parseOk(bytes);
        parseTextRow(bytes, 3);
      },
    },
    {
      name: 'result reader',
      samples: samples.streams,
      run(bytes) {
        const packets = new PacketReader({ maxPayloadBytes: 1 << 20 });
        const result = new ResultReader({ deprecateEof: bytes.length % 2 === 0 });
        packets.push(bytes);
        for (let packet = packets.next(); packet !== null; packet = packets.next()) {
          if (result.push(packet.payload) !== null) return;
        }
      },
    },
    {
      name: 'COM_REGISTER_REPLICA',
      samples: commandsOf(COMMAND.REGISTER_REPLICA),
      run: (bytes) => void parseRegisterReplica(bytes),
    },
    {
      name: 'COM_BINLOG_DUMP',
      samples: commandsOf(COMMAND.BINLOG_DUMP),
      run: (bytes) => void parseBinlogDump(bytes),
    },
    {
      name: 'COM_BINLOG_DUMP_GTID',
      samples: commandsOf(COMMAND.BINLOG_DUMP_GTID),
      run: (bytes) => void GtidSet.decode(parseBinlogDumpGtid(bytes).gtidSet),
    },
    {
      name: 'gtid set, binary',
      samples: encodedSets,
      run(bytes) {
        const set = GtidSet.decode(bytes);
        if (!GtidSet.decode(set.encode()).equals(set)) throw new Error('does not read back');
      },
    },
    {
      name: 'gtid set, text',
      samples: texts,
      run(bytes) {
        const set = GtidSet.parse(Buffer.from(bytes).toString());
        if (!GtidSet.parse(set.toString()).equals(set)) throw new Error('does not read back');
      },
    },
    {
      name: 'gtid, text',
      samples: texts.flatMap((text) => text.toString().split(',')).map((text) => Buffer.from(text)),
      run(bytes) {
        const gtid = parseGtid(Buffer.from(bytes).toString());
        if (formatGtid(parseGtid(formatGtid(gtid))) !== formatGtid(gtid)) throw new Error('does not read back');
      },
    },
    {
      name: 'event header',
      samples: samples.events,
      run(bytes) {
        checkEventCrc(repaired(bytes));
        parseEventHeader(bytes);
        if (bytes[4] === EVENT_TYPE.FORMAT_DESCRIPTION) formatDescriptionForDump(bytes, { midFile: true });
        checkEventCrc(bytes);
      },
    },
    {
      name: 'dump packet',
      samples: samples.dumpPackets,
      run(bytes) {
        parseDumpPacket(bytes, { semiSync: bytes.length % 2 === 0 });
      },
    },
    { name: 'ack', samples: [encodeAck('mysql-bin.000001', 157)], run: (bytes) => void parseAck(bytes) },
    {
      name: 'transaction assembler',
      samples: samples.binlogs,
      run(bytes) {
        const assembler = new TransactionAssembler({ chunkBytes: 64 });
        const rotate = samples.events.find((event) => event[4] === EVENT_TYPE.ROTATE);
        if (rotate !== undefined) assembler.push(rotate);
        for (const event of repairedEvents(bytes)) assembler.push(event);
      },
    },
    {
      name: 'binlog file',
      samples: samples.binlogs,
      run(bytes) {
        for (const input of [[bytes], [bytes.subarray(0, 4), ...repairedEvents(bytes)]]) {
          const scanner = new BinlogFileScanner();
          for (const piece of input) scanner.push(piece);
          scanner.end();
        }
      },
    },
  ];
}
