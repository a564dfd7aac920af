import { PhxError } from '../base/errors.ts';

/** Name of one transaction: `uuid:gno` or `uuid:tag:gno`. uuid and tag in lower case; tag is '' where there is none. */
export type Gtid = Readonly<{ uuid: string; tag: string; gno: number }>;

export const TAG_LENGTH_MAX = 32;
/** MySQL counts to 2^63 - 2; above 2^53 - 1 a number is not exact here, and no server gets there. */
export const GNO_MAX = Number.MAX_SAFE_INTEGER;

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;
const TAG = /^[a-z_][a-z0-9_]{0,31}$/;
const DECIMAL = /^[1-9][0-9]{0,18}$/;

export const isUuid = (text: string): boolean => UUID.test(text);
export const isTag = (text: string): boolean => TAG.test(text);

/** A transaction number; throws GTID_INVALID. Leading zeros are refused: MySQL reads them as octal. */
export function parseGno(text: string): number {
  if (!DECIMAL.test(text))
    throw new PhxError('GTID_INVALID', `parse gtid: '${excerpt(text)}' is no transaction number`);
  const gno = Number(text);
  if (gno > GNO_MAX) throw new PhxError('GTID_INVALID', `parse gtid: number ${text} is above 2^53 - 1`);
  return gno;
}

export function parseGtid(text: string): Gtid {
  const fields = text.trim().toLowerCase().split(':');
  const uuid = fields[0] ?? '';
  const tag = fields.length === 3 ? fields[1]! : '';
  const gno = fields.at(-1) ?? '';
  if ((fields.length !== 2 && fields.length !== 3) || !isUuid(uuid) || (fields.length === 3 && !isTag(tag))) {
    throw new PhxError('GTID_INVALID', `parse gtid: '${excerpt(text)}' is not uuid:number or uuid:tag:number`);
  }
  return { uuid, tag, gno: parseGno(gno) };
}

export function formatGtid(gtid: Gtid): string {
  return `${sidOf(gtid)}:${gtid.gno}`;
}

/** `uuid` or `uuid:tag`: the part of a GTID that numbers are counted under. Sorts as MySQL sorts. */
export function sidOf(gtid: Readonly<{ uuid: string; tag: string }>): string {
  return gtid.tag === '' ? gtid.uuid : `${gtid.uuid}:${gtid.tag}`;
}

/** 16 bytes as text. */
export function uuidFromBytes(bytes: Uint8Array): string {
  const hex = Buffer.from(bytes).toString('hex');
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}

export function uuidToBytes(uuid: string): Buffer {
  return Buffer.from(uuid.replaceAll('-', ''), 'hex');
}

/** Enough of a wrong text to recognise it in an error message. */
export function excerpt(text: string): string {
  return text.length > 80 ? `${text.slice(0, 77)}...` : text;
}
