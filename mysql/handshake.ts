import { PhxError } from '../base/errors.ts';
import { ByteReader } from './byte-reader.ts';
import { CAPABILITY, hasCapability } from './capabilities.ts';
import { cstring, encodeLenencBytes, u16le, u32le } from './lenenc.ts';

/** First packet of a connection, server to client (protocol 10). */
export type Handshake = Readonly<{
  serverVersion: string;
  connectionId: number;
  /** 20 bytes, none of them 0. */
  scramble: Uint8Array;
  authPlugin: string;
  capabilities: number;
  charset: number;
  status: number;
}>;

/** The client's answer (protocol 41). */
export type HandshakeResponse = Readonly<{
  user: string;
  authResponse: Uint8Array;
  plugin: string;
  database?: string;
  attributes?: Readonly<Record<string, string>>;
  capabilities: number;
  charset: number;
  /** Largest packet the client takes, bytes. */
  maxPacket: number;
}>;

export type AuthSwitch = Readonly<{ plugin: string; scramble: Uint8Array }>;

export const SCRAMBLE_BYTES = 20;
const PROTOCOL_VERSION = 10;
const SCRAMBLE_HEAD_BYTES = 8;
const SSL_REQUEST_BYTES = 32;
const AUTH_SWITCH = 0xfe;
const AUTH_MORE_DATA = 0x01;

/*
 * 0a | server version\0 | connection id u32 | scramble[0..8] | 00 | capabilities low u16 | charset u8 | status u16 |
 * capabilities high u16 | scramble length + 1 u8 | 10 zeros | scramble[8..20] 00 | plugin\0
 */
export function encodeHandshake(handshake: Handshake): Buffer {
  if (handshake.scramble.length !== SCRAMBLE_BYTES) {
    throw new PhxError('MYSQL_PROTOCOL', `encode handshake: scramble has ${handshake.scramble.length} bytes, not 20`);
  }
  return Buffer.concat([
    Buffer.from([PROTOCOL_VERSION]),
    cstring(handshake.serverVersion),
    u32le(handshake.connectionId),
    handshake.scramble.subarray(0, SCRAMBLE_HEAD_BYTES),
    Buffer.from([0]),
    u16le(handshake.capabilities & 0xffff),
    Buffer.from([handshake.charset & 0xff]),
    u16le(handshake.status),
    u16le(handshake.capabilities >>> 16),
    Buffer.from([SCRAMBLE_BYTES + 1]),
    Buffer.alloc(10),
    handshake.scramble.subarray(SCRAMBLE_HEAD_BYTES),
    Buffer.from([0]),
    cstring(handshake.authPlugin),
  ]);
}

/** Throws MYSQL_PROTOCOL. A server that refuses the connection sends an ERR packet instead: see result.ts, isErr. */
export function parseHandshake(payload: Uint8Array): Handshake {
  const reader = new ByteReader(payload, 'handshake');
  const version = reader.u8();
  if (version !== PROTOCOL_VERSION) throw reader.bad(`protocol version ${version}, not ${PROTOCOL_VERSION}`);
  const serverVersion = reader.cstring();
  const connectionId = reader.u32();
  const head = reader.bytes(SCRAMBLE_HEAD_BYTES);
  reader.skip(1);
  const low = reader.u16();
  const charset = reader.u8();
  const status = reader.u16();
  const capabilities = (low | (reader.u16() << 16)) >>> 0;
  if (!hasCapability(capabilities, CAPABILITY.PROTOCOL_41 | CAPABILITY.SECURE_CONNECTION)) {
    throw reader.bad('the server does not speak protocol 4.1');
  }
  const scrambleLength = reader.u8();
  reader.skip(10);
  const tail = reader.bytes(Math.max(13, scrambleLength - SCRAMBLE_HEAD_BYTES));
  const authPlugin = hasCapability(capabilities, CAPABILITY.PLUGIN_AUTH) ? reader.cstring() : '';
  const scramble = Buffer.concat([head, tail]).subarray(0, SCRAMBLE_BYTES);
  return { serverVersion, connectionId, scramble, authPlugin, capabilities, charset, status };
}

/** Whether the client's first packet asks for TLS: the fixed head of a response with the SSL flag, and nothing else. */
export function isSslRequest(payload: Uint8Array): boolean {
  if (payload.length !== SSL_REQUEST_BYTES) return false;
  return hasCapability(new ByteReader(payload, 'TLS request').u32(), CAPABILITY.SSL | CAPABILITY.PROTOCOL_41);
}

export function encodeSslRequest(
  request: Readonly<{ capabilities: number; charset: number; maxPacket: number }>,
): Buffer {
  return Buffer.concat([
    u32le(request.capabilities | CAPABILITY.SSL),
    u32le(request.maxPacket),
    Buffer.from([request.charset & 0xff]),
    Buffer.alloc(23),
  ]);
}

/*
 * capabilities u32 | max packet u32 | charset u8 | 23 zeros | user\0 | auth response (lenenc, or u8 length) |
 * [database\0] | [plugin\0] | [lenenc size of attributes | (lenenc key | lenenc value)*]
 * CONNECT_WITH_DB, PLUGIN_AUTH and CONNECT_ATTRS follow from what is there.
 */
export function encodeHandshakeResponse(response: HandshakeResponse): Buffer {
  const database = response.database;
  const attributes = response.attributes;
  const optional = CAPABILITY.CONNECT_WITH_DB | CAPABILITY.CONNECT_ATTRS;
  const capabilities =
    ((response.capabilities & ~optional) |
      CAPABILITY.PROTOCOL_41 |
      CAPABILITY.SECURE_CONNECTION |
      CAPABILITY.PLUGIN_AUTH |
      CAPABILITY.PLUGIN_AUTH_LENENC_CLIENT_DATA |
      (database === undefined ? 0 : CAPABILITY.CONNECT_WITH_DB) |
      (attributes === undefined ? 0 : CAPABILITY.CONNECT_ATTRS)) >>>
    0;
  const parts: Buffer[] = [
    u32le(capabilities),
    u32le(response.maxPacket),
    Buffer.from([response.charset & 0xff]),
    Buffer.alloc(23),
    cstring(response.user),
    encodeLenencBytes(response.authResponse),
  ];
  if (database !== undefined) parts.push(cstring(database));
  parts.push(cstring(response.plugin));
  if (attributes !== undefined) {
    const pairs = Object.entries(attributes).flatMap(([key, value]) => [
      encodeLenencBytes(key),
      encodeLenencBytes(value),
    ]);
    parts.push(encodeLenencBytes(Buffer.concat(pairs)));
  }
  return Buffer.concat(parts);
}

/** Throws MYSQL_PROTOCOL on anything but a protocol 41 response. An empty `plugin` means that the client named none. */
export function parseHandshakeResponse(payload: Uint8Array): HandshakeResponse {
  const reader = new ByteReader(payload, 'handshake response');
  const capabilities = reader.u32();
  if (!hasCapability(capabilities, CAPABILITY.PROTOCOL_41)) throw reader.bad('the client does not speak protocol 4.1');
  const maxPacket = reader.u32();
  const charset = reader.u8();
  reader.skip(23);
  const user = reader.cstring();
  let authResponse: Buffer;
  if (hasCapability(capabilities, CAPABILITY.PLUGIN_AUTH_LENENC_CLIENT_DATA)) authResponse = reader.lenencBytes();
  else if (hasCapability(capabilities, CAPABILITY.SECURE_CONNECTION)) authResponse = reader.bytes(reader.u8());
  else authResponse = Buffer.from(reader.cstring());
  // A client may set CONNECT_WITH_DB and PLUGIN_AUTH and yet end the packet here; the server takes that as empty.
  const database =
    hasCapability(capabilities, CAPABILITY.CONNECT_WITH_DB) && reader.remaining > 0 ? reader.cstring() : '';
  const plugin = hasCapability(capabilities, CAPABILITY.PLUGIN_AUTH) && reader.remaining > 0 ? reader.cstring() : '';
  const attributes: Record<string, string> = Object.create(null) as Record<string, string>;
  if (hasCapability(capabilities, CAPABILITY.CONNECT_ATTRS) && reader.remaining > 0) {
    const pairs = new ByteReader(reader.lenencBytes(), 'connection attributes');
    while (pairs.remaining > 0) {
      const key = pairs.lenencBytes().toString('utf8');
      attributes[key] = pairs.lenencBytes().toString('utf8');
    }
  }
  return {
    user,
    authResponse,
    plugin,
    ...(database === '' ? {} : { database }),
    attributes,
    capabilities,
    charset,
    maxPacket,
  };
}

/** fe | plugin\0 | scramble | 00 */
export function encodeAuthSwitch(request: AuthSwitch): Buffer {
  return Buffer.concat([Buffer.from([AUTH_SWITCH]), cstring(request.plugin), request.scramble, Buffer.from([0])]);
}

export function isAuthSwitch(payload: Uint8Array): boolean {
  return payload[0] === AUTH_SWITCH && payload.length > 1;
}

export function parseAuthSwitch(payload: Uint8Array): AuthSwitch {
  const reader = new ByteReader(payload, 'auth switch');
  const marker = reader.u8();
  if (marker !== AUTH_SWITCH) throw reader.bad(`begins with ${marker}`);
  const plugin = reader.cstring();
  const rest = reader.rest();
  return { plugin, scramble: rest.at(-1) === 0 ? rest.subarray(0, -1) : rest };
}

/** 01 | data; for caching_sha2_password `data` is FAST_AUTH_OK or FULL_AUTH. */
export function encodeAuthMoreData(data: Uint8Array | number): Buffer {
  return Buffer.concat([Buffer.from([AUTH_MORE_DATA]), typeof data === 'number' ? Buffer.from([data]) : data]);
}

export function isAuthMoreData(payload: Uint8Array): boolean {
  return payload[0] === AUTH_MORE_DATA;
}

export function parseAuthMoreData(payload: Uint8Array): Buffer {
  const reader = new ByteReader(payload, 'auth data');
  const marker = reader.u8();
  if (marker !== AUTH_MORE_DATA) throw reader.bad(`begins with ${marker}`);
  return reader.rest();
}
