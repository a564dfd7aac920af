import { createHash, timingSafeEqual } from 'node:crypto';

/** Authentication plugins this code speaks. */
export const AUTH_PLUGIN = { CACHING_SHA2: 'caching_sha2_password', NATIVE: 'mysql_native_password' } as const;

/** Second byte of an auth-more-data packet of caching_sha2_password. */
export const FAST_AUTH_OK = 3;
/** The server wants the password itself: over TLS or a local socket as clear text. */
export const FULL_AUTH = 4;

const sha = (algorithm: 'sha1' | 'sha256', ...parts: readonly (Uint8Array | string)[]): Buffer => {
  const hash = createHash(algorithm);
  for (const part of parts) hash.update(part);
  return hash.digest();
};

const xor = (a: Buffer, b: Buffer): Buffer => Buffer.from(a.map((byte, i) => byte ^ b[i]!));

/** SHA1(password) xor SHA1(nonce, SHA1(SHA1(password))); empty for an empty password. `nonce` has 20 bytes. */
export function scrambleNative(password: string, nonce: Uint8Array): Buffer {
  if (password === '') return Buffer.alloc(0);
  const once = sha('sha1', password);
  return xor(once, sha('sha1', nonce, sha('sha1', once)));
}

/** SHA256(password) xor SHA256(SHA256(SHA256(password)), nonce); empty for an empty password. `nonce` has 20 bytes. */
export function scrambleCachingSha2(password: string, nonce: Uint8Array): Buffer {
  if (password === '') return Buffer.alloc(0);
  const once = sha('sha256', password);
  return xor(once, sha('sha256', sha('sha256', once), nonce));
}

/** Whether `response` proves knowledge of `password`; takes as long for a wrong answer as for a right one. */
export function verifyCachingSha2(password: string, nonce: Uint8Array, response: Uint8Array): boolean {
  return sameBytes(scrambleCachingSha2(password, nonce), response);
}

export function verifyNative(password: string, nonce: Uint8Array, response: Uint8Array): boolean {
  return sameBytes(scrambleNative(password, nonce), response);
}

/** The answer to FULL_AUTH where the channel is private (TLS or a local socket). */
export function clearPassword(password: string): Buffer {
  return Buffer.from(`${password}\0`);
}

function sameBytes(expected: Uint8Array, given: Uint8Array): boolean {
  return expected.length === given.length && timingSafeEqual(expected, given);
}
