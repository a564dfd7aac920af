import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'vitest';
import { PhxError } from '../../../base/errors.ts';
import { PacketReader } from '../../../mysql/packet.ts';
import { isEof } from '../../../mysql/result.ts';
import { parseDumpPacket } from '../../../mysql/semi-sync.ts';

/** Recorded from a real mysqld by test/support/record-fixtures.ts. */
const DIR = join(import.meta.dirname, '../../../mysql/testdata');

export type Expected = Readonly<{
  version: string;
  serverUuid: string;
  gtidExecuted: string;
  /** What dump-middle had already. */
  half: string;
  user: string;
  password: string;
  /** SHOW BINLOG EVENTS of each file. */
  files: Readonly<Record<string, readonly Readonly<{ pos: number; type: string; end: number; info: string }>[]>>;
}>;

export const fixture = (name: string): Buffer => readFileSync(join(DIR, name));
export const expected = JSON.parse(fixture('expected.json').toString()) as Expected;
export const BINLOGS = ['binlog.000001', 'binlog.000002', 'binlog.000003'] as const;
export const DUMPS = ['dump-plain.bin', 'dump-middle.bin', 'dump-position.bin', 'dump-semi-sync.bin'] as const;
export const STREAMS = [
  ...DUMPS,
  'login-fast.server.bin',
  'login-fast.client.bin',
  'login-full.server.bin',
  'login-full.client.bin',
  'ok.server.bin',
  'err.server.bin',
  'rows.server.bin',
  'replica.client.bin',
] as const;

export function packetsOf(bytes: Uint8Array): Buffer[] {
  const reader = new PacketReader();
  reader.push(bytes);
  const out: Buffer[] = [];
  for (let packet = reader.next(); packet !== null; packet = reader.next()) out.push(packet.payload);
  expect(reader.pendingBytes).toBe(0);
  return out;
}

/** The events of a recorded dump. */
export function eventsOf(name: (typeof DUMPS)[number]): Buffer[] {
  const semiSync = name === 'dump-semi-sync.bin';
  return packetsOf(fixture(name))
    .filter((payload) => !isEof(payload))
    .map((payload) => parseDumpPacket(payload, { semiSync }).event);
}

/** The events of a recorded file with their offsets. */
export function eventsOfFile(name: (typeof BINLOGS)[number]): { offset: number; event: Buffer }[] {
  const bytes = fixture(name);
  const out: { offset: number; event: Buffer }[] = [];
  for (let offset = 4; offset < bytes.length; ) {
    const size = bytes.readUInt32LE(offset + 9);
    out.push({ offset, event: bytes.subarray(offset, offset + size) });
    offset += size;
  }
  return out;
}

/** A stream parser must not care where its input is cut: every two-piece feeding gives what one piece gives, as text. */
export function cutInTwo(bytes: Uint8Array, parse: (pieces: readonly Uint8Array[]) => string): void {
  const whole = parse([bytes]);
  for (let at = 0; at <= bytes.length; at += 1) {
    const cut = parse([bytes.subarray(0, at), bytes.subarray(at)]);
    if (cut !== whole) expect(cut, `cut at ${at}`).toBe(whole);
  }
}

/** A parser of whole messages must answer every shortened message with a value or a PhxError. */
export function truncate(message: Uint8Array, parse: (bytes: Uint8Array) => unknown): void {
  parse(message);
  for (let length = 0; length < message.length; length += 1) {
    onlyPhxError(() => parse(message.subarray(0, length)), `truncated to ${length}`);
  }
}

export function onlyPhxError(run: () => unknown, what: string): void {
  try {
    run();
  } catch (error) {
    if (!(error instanceof PhxError)) throw new Error(`${what}: ${String(error)}`, { cause: error });
  }
}

/** The PhxError that `run` must throw. */
export function phxError(run: () => unknown): PhxError {
  try {
    run();
  } catch (error) {
    if (error instanceof PhxError) return error;
    throw error;
  }
  throw new Error('nothing was thrown');
}
