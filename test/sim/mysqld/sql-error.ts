export const ER_READ_ONLY = 1290;
export const ER_LOCK_WAIT_TIMEOUT = 1205;

/** What mysqld answers with an ERR packet, in the shape of mysql2. */
export class SqlError extends Error {
  override readonly name = 'SqlError';
  readonly errno: number;
  readonly sqlState = 'HY000';

  constructor(errno: number, message: string) {
    super(`${message} (${errno})`);
    this.errno = errno;
  }
}
