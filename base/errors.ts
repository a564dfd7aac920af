/** Every operating error this system raises, defined once. A bug is an InvariantError instead (base/invariant.ts). */
export type ErrorCode =
  | 'CONFIG_INVALID'
  | 'DIR_IN_USE'
  | 'DIR_FOREIGN'
  | 'PORT_IN_USE'
  | 'DISK_TOO_SMALL'
  | 'MYSQL_UNSUITABLE'
  | 'MYSQL_DOWN'
  | 'MYSQL_PROTOCOL'
  | 'MYSQL_AUTH'
  | 'BINLOG_CORRUPT'
  | 'BINLOG_ENCRYPTED'
  | 'GTID_INVALID'
  | 'STORE_CORRUPT'
  | 'STORE_FORMAT'
  | 'STORE_IO'
  | 'PURGED'
  | 'AMNESIA'
  | 'NOT_LEADER'
  | 'BUSY'
  | 'WRONG_EPOCH'
  | 'NOT_SUCCESSOR'
  | 'NOT_EXECUTED'
  | 'LEASE_RUNS'
  | 'NO_QUORUM'
  | 'NO_MASTER'
  | 'PEER_REFUSED'
  | 'MEMBER_REFUSED'
  | 'DIVERGED'
  | 'TIMEOUT'
  | 'CANCELLED'
  | 'TOO_LARGE'
  | 'UNAVAILABLE';

const RETRYABLE: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'NOT_LEADER',
  'BUSY',
  'NO_QUORUM',
  'TIMEOUT',
  'UNAVAILABLE',
  'NOT_SUCCESSOR',
]);

/** An operating error: `verb object: cause`, lower case, no full stop; `hint` says what the operator can do about it. */
export class PhxError extends Error {
  override readonly name = 'PhxError';
  readonly code: ErrorCode;
  readonly hint: string | undefined;

  constructor(code: ErrorCode, message: string, options: { cause?: unknown; hint?: string } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.hint = options.hint;
  }

  get retryable(): boolean {
    return RETRYABLE.has(this.code);
  }
}

/** The message of whatever was thrown, for logs and `reason` fields. */
export function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
