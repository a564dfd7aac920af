import { encodePacket } from '../mysql/packet.ts';
import { encodeErr } from '../mysql/result.ts';

/** Why a client is sent away. */
export type RefusalCode = 'NO_MASTER' | 'NO_SLAVE' | 'BACKEND_DOWN' | 'TOO_MANY_CONNECTIONS' | 'TOO_MANY_WAITING';

/**
 * 1053 (server shutdown in progress): drivers and pools count it as a lost connection that may be tried again. Not 1053, though
 * it is the apter text: MariaDB's client library takes no 2xxx number from a server ("malformed packet"). 1040 is mysqld's
 * own "Too many connections".
 */
const ERRNO: Readonly<Record<RefusalCode, number>> = {
  NO_MASTER: 1053,
  NO_SLAVE: 1053,
  BACKEND_DOWN: 1053,
  TOO_MANY_CONNECTIONS: 1040,
  TOO_MANY_WAITING: 1040,
};

/** Class 08 tells drivers that the connection, not the statement, failed. */
const SESSION_OVER = { errno: 1053, sqlState: '08S01' } as const;

/** libmysqlclient keeps 511 bytes of a message. */
const MESSAGE_BYTES_MAX = 511;

function clip(message: string): Buffer {
  const bytes = Buffer.from(message);
  return bytes.length <= MESSAGE_BYTES_MAX ? bytes : bytes.subarray(0, MESSAGE_BYTES_MAX);
}

/**
 * The first and only packet of a connection: sequence 0, and no SQL state, as mysqld sends its "Too many connections"
 * (before the handshake a client is not known to understand one and would show it as text). Checked on 9.7.4.
 */
export function encodeRefusal(code: RefusalCode, reason: string): Buffer {
  const errno = ERRNO[code];
  return encodePacket([Buffer.from([0xff, errno & 0xff, errno >> 8]), clip(`phxsql: ${reason}`)], 0);
}

/** For an idle session about to be closed. Sequence 0, as mysqld sends its idle timeout (4031) between two commands. */
export function encodeSessionOver(reason: string): Buffer {
  return encodePacket(encodeErr({ ...SESSION_OVER, message: clip(`phxsql: session closed: ${reason}`).toString() }), 0);
}
