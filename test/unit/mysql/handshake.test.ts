import { describe, expect, it } from 'vitest';
import { CAPABILITY, CHARSET_UTF8MB4, CLIENT_CAPABILITIES, hasCapability } from '../../../mysql/capabilities.ts';
import {
  encodeAuthMoreData,
  encodeAuthSwitch,
  encodeHandshake,
  encodeHandshakeResponse,
  encodeSslRequest,
  isAuthSwitch,
  isSslRequest,
  parseAuthMoreData,
  parseAuthSwitch,
  parseHandshake,
  parseHandshakeResponse,
} from '../../../mysql/handshake.ts';
import { expected, fixture, packetsOf, phxError, truncate } from './fixtures.ts';

describe('handshake', () => {
  const greeting = packetsOf(fixture('login-fast.server.bin'))[0]!;

  it("reads a real server's greeting and writes the same bytes", () => {
    const handshake = parseHandshake(greeting);
    expect(handshake).toMatchObject({
      serverVersion: expected.version,
      authPlugin: 'caching_sha2_password',
      charset: CHARSET_UTF8MB4,
      status: 2,
    });
    expect(handshake.scramble).toHaveLength(20);
    expect(hasCapability(handshake.capabilities, CAPABILITY.SSL | CAPABILITY.DEPRECATE_EOF)).toBe(true);
    expect(encodeHandshake(handshake).equals(greeting)).toBe(true);
    truncate(greeting, parseHandshake);
  });

  it('refuses other protocol versions', () => {
    expect(phxError(() => parseHandshake(Buffer.from([9, 0]))).message).toContain('protocol version 9');
  });
});

describe('handshake response', () => {
  const own = packetsOf(fixture('login-fast.client.bin'))[0]!;
  const replica = packetsOf(fixture('replica.client.bin'))[0]!;

  it('reads what we wrote, which a real server accepted', () => {
    const response = parseHandshakeResponse(own);
    expect(response).toMatchObject({
      user: expected.user,
      plugin: 'caching_sha2_password',
      attributes: { _client_name: 'fixture' },
      charset: CHARSET_UTF8MB4,
      maxPacket: 0x4000_0000,
    });
    expect(encodeHandshakeResponse(response).equals(own)).toBe(true);
    truncate(own, parseHandshakeResponse);
  });

  it("reads a real replica's", () => {
    const response = parseHandshakeResponse(replica);
    expect(response).toMatchObject({ user: 'repl', plugin: 'caching_sha2_password' });
    expect(response.authResponse).toHaveLength(32);
    expect(response.attributes).toMatchObject({ program_name: 'mysqld', _client_role: 'binary_log_listener' });
    truncate(replica, parseHandshakeResponse);
  });

  it('carries a database, and attributes with any name', () => {
    const response = {
      user: 'grün',
      authResponse: Buffer.alloc(0),
      plugin: 'mysql_native_password',
      database: 'd',
      attributes: { __proto__x: '1', constructor: '2' },
      capabilities: CLIENT_CAPABILITIES,
      charset: 8,
      maxPacket: 1,
    };
    const back = parseHandshakeResponse(encodeHandshakeResponse(response));
    expect(back).toMatchObject({ user: 'grün', database: 'd', plugin: 'mysql_native_password' });
    expect({ ...back.attributes }).toEqual(response.attributes);
  });

  it('reads the older ways to carry the proof', () => {
    const head = (capabilities: number): Buffer => {
      const out = Buffer.alloc(32);
      out.writeUInt32LE(capabilities);
      return out;
    };
    const short = Buffer.concat([
      head(CAPABILITY.PROTOCOL_41 | CAPABILITY.SECURE_CONNECTION),
      Buffer.from('u\0\x02xy'),
    ]);
    expect(parseHandshakeResponse(short)).toMatchObject({ user: 'u', plugin: '', authResponse: Buffer.from('xy') });
    const ancient = Buffer.concat([head(CAPABILITY.PROTOCOL_41), Buffer.from('u\0xy\0')]);
    expect(parseHandshakeResponse(ancient)).toMatchObject({ user: 'u', authResponse: Buffer.from('xy') });
    expect(phxError(() => parseHandshakeResponse(head(0))).code).toBe('MYSQL_PROTOCOL');
  });
});

it('a TLS request is recognised, a response is not one', () => {
  const request = encodeSslRequest({ capabilities: CLIENT_CAPABILITIES, charset: 255, maxPacket: 1 << 24 });
  expect(isSslRequest(request)).toBe(true);
  expect(isSslRequest(packetsOf(fixture('login-fast.client.bin'))[0]!)).toBe(false);
  expect(isSslRequest(Buffer.alloc(32))).toBe(false);
  expect(isSslRequest(Buffer.alloc(0))).toBe(false);
});

it('auth switch and auth data', () => {
  const scramble = Buffer.from('0123456789abcdefghij');
  const change = encodeAuthSwitch({ plugin: 'mysql_native_password', scramble });
  expect(isAuthSwitch(change)).toBe(true);
  expect(parseAuthSwitch(change)).toEqual({ plugin: 'mysql_native_password', scramble });
  truncate(change, parseAuthSwitch);
  expect(parseAuthMoreData(encodeAuthMoreData(4))).toEqual(Buffer.from([4]));
  expect(parseAuthMoreData(encodeAuthMoreData(Buffer.from('key')))).toEqual(Buffer.from('key'));
  expect(phxError(() => parseAuthMoreData(Buffer.from([0]))).code).toBe('MYSQL_PROTOCOL');
});
