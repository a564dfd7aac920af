import { describe, expect, it } from 'vitest';
import {
  clearPassword,
  FAST_AUTH_OK,
  FULL_AUTH,
  scrambleCachingSha2,
  scrambleNative,
  verifyCachingSha2,
  verifyNative,
} from '../../../mysql/auth.ts';
import { parseAuthMoreData, parseHandshake, parseHandshakeResponse } from '../../../mysql/handshake.ts';
import { isOk } from '../../../mysql/result.ts';
import { expected, fixture, packetsOf } from './fixtures.ts';

describe('caching_sha2_password', () => {
  it('answers as the recorded exchange that the server accepted', () => {
    const [greeting, fast, ok] = packetsOf(fixture('login-fast.server.bin'));
    const [response] = packetsOf(fixture('login-fast.client.bin'));
    const nonce = parseHandshake(greeting!).scramble;
    const { authResponse } = parseHandshakeResponse(response!);
    expect(scrambleCachingSha2(expected.password, nonce).equals(authResponse)).toBe(true);
    expect(verifyCachingSha2(expected.password, nonce, authResponse)).toBe(true);
    expect(verifyCachingSha2('other', nonce, authResponse)).toBe(false);
    expect(verifyCachingSha2(expected.password, nonce, authResponse.subarray(1))).toBe(false);
    expect([...parseAuthMoreData(fast!)]).toEqual([FAST_AUTH_OK]);
    expect(isOk(ok!)).toBe(true);
  });

  it('falls back to the password itself when the server does not know it yet', () => {
    const [, full, ok] = packetsOf(fixture('login-full.server.bin'));
    const [, password] = packetsOf(fixture('login-full.client.bin'));
    expect([...parseAuthMoreData(full!)]).toEqual([FULL_AUTH]);
    expect(password).toEqual(clearPassword(expected.password));
    expect(isOk(ok!)).toBe(true);
  });
});

describe('mysql_native_password', () => {
  it('verifies its own scramble only', () => {
    const nonce = Buffer.from('0123456789abcdefghij');
    const response = scrambleNative('secret', nonce);
    expect(response.toString('hex')).toHaveLength(40);
    expect(verifyNative('secret', nonce, response)).toBe(true);
    expect(verifyNative('Secret', nonce, response)).toBe(false);
    expect(verifyNative('secret', Buffer.from('0123456789abcdefghiJ'), response)).toBe(false);
  });
});

it('an empty password is an empty answer', () => {
  const nonce = Buffer.alloc(20, 1);
  expect(scrambleNative('', nonce)).toHaveLength(0);
  expect(scrambleCachingSha2('', nonce)).toHaveLength(0);
  expect(verifyCachingSha2('', nonce, Buffer.alloc(0))).toBe(true);
  expect(verifyCachingSha2('x', nonce, Buffer.alloc(0))).toBe(false);
});
