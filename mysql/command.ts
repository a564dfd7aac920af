import { ByteReader } from './byte-reader.ts';
import { u16le, u32le, u64le } from './lenenc.ts';

/** First byte of a command packet. */
export const COMMAND = {
  QUIT: 0x01,
  INIT_DB: 0x02,
  QUERY: 0x03,
  STATISTICS: 0x09,
  PING: 0x0e,
  CHANGE_USER: 0x11,
  BINLOG_DUMP: 0x12,
  REGISTER_REPLICA: 0x15,
  STMT_PREPARE: 0x16,
  STMT_EXECUTE: 0x17,
  STMT_CLOSE: 0x19,
  SET_OPTION: 0x1b,
  BINLOG_DUMP_GTID: 0x1e,
  RESET_CONNECTION: 0x1f,
} as const;

/** End the dump with EOF instead of waiting for more. */
export const BINLOG_DUMP_NON_BLOCK = 0x1;
/** The client understands heartbeats of version 2; a 9.7 replica sets it. */
export const BINLOG_DUMP_HEARTBEAT_V2 = 0x2;

export type RegisterReplica = Readonly<{
  serverId: number;
  host: string;
  user: string;
  password: string;
  port: number;
}>;
export type BinlogDump = Readonly<{ flags: number; serverId: number; file: string; position: number }>;
export type BinlogDumpGtid = Readonly<{
  flags: number;
  serverId: number;
  file: string;
  position: number;
  /** As GtidSet.encode makes it; a dump sends every transaction that is not in it. */
  gtidSet: Uint8Array;
}>;

export function encodeQuery(sql: string): Buffer {
  return Buffer.concat([Buffer.from([COMMAND.QUERY]), Buffer.from(sql)]);
}

function readerOf(payload: Uint8Array, command: number, what: string): ByteReader {
  const reader = new ByteReader(payload, what);
  const first = reader.u8();
  if (first !== command) throw reader.bad(`begins with ${first}, not ${command}`);
  return reader;
}

const shortText = (text: string): Buffer => {
  const bytes = Buffer.from(text).subarray(0, 255);
  return Buffer.concat([Buffer.from([bytes.length]), bytes]);
};

/** 15 | server id u32 | host, user, password (u8 length each) | port u16 | rank u32 | source id u32 */
export function encodeRegisterReplica(replica: RegisterReplica): Buffer {
  return Buffer.concat([
    Buffer.from([COMMAND.REGISTER_REPLICA]),
    u32le(replica.serverId),
    shortText(replica.host),
    shortText(replica.user),
    shortText(replica.password),
    u16le(replica.port),
    u32le(0),
    u32le(0),
  ]);
}

export function parseRegisterReplica(payload: Uint8Array): RegisterReplica {
  const reader = readerOf(payload, COMMAND.REGISTER_REPLICA, 'COM_REGISTER_REPLICA');
  const serverId = reader.u32();
  const host = reader.text(reader.u8());
  const user = reader.text(reader.u8());
  const password = reader.text(reader.u8());
  const port = reader.u16();
  reader.skip(8);
  return { serverId, host, user, password, port };
}

/** 12 | position u32 | flags u16 | server id u32 | file */
export function encodeBinlogDump(dump: BinlogDump): Buffer {
  return Buffer.concat([
    Buffer.from([COMMAND.BINLOG_DUMP]),
    u32le(dump.position),
    u16le(dump.flags),
    u32le(dump.serverId),
    Buffer.from(dump.file),
  ]);
}

export function parseBinlogDump(payload: Uint8Array): BinlogDump {
  const reader = readerOf(payload, COMMAND.BINLOG_DUMP, 'COM_BINLOG_DUMP');
  const position = reader.u32();
  const flags = reader.u16();
  const serverId = reader.u32();
  return { flags, serverId, file: reader.text(reader.remaining), position };
}

/** 1e | flags u16 | server id u32 | name length u32 | name | position u64 | data length u32 | GTID set */
export function encodeBinlogDumpGtid(dump: BinlogDumpGtid): Buffer {
  const file = Buffer.from(dump.file);
  return Buffer.concat([
    Buffer.from([COMMAND.BINLOG_DUMP_GTID]),
    u16le(dump.flags),
    u32le(dump.serverId),
    u32le(file.length),
    file,
    u64le(dump.position),
    u32le(dump.gtidSet.length),
    dump.gtidSet,
  ]);
}

export function parseBinlogDumpGtid(payload: Uint8Array): BinlogDumpGtid {
  const reader = readerOf(payload, COMMAND.BINLOG_DUMP_GTID, 'COM_BINLOG_DUMP_GTID');
  const flags = reader.u16();
  const serverId = reader.u32();
  const file = reader.text(reader.u32());
  const position = reader.u64();
  const gtidSet = reader.bytes(reader.u32());
  return { flags, serverId, file, position, gtidSet };
}
