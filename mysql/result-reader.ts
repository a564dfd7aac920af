import { PhxError } from '../base/errors.ts';
import {
  type ErrPacket,
  isEof,
  isErr,
  isOk,
  isResultEnd,
  type OkPacket,
  parseColumnCount,
  parseColumnName,
  parseErr,
  parseOk,
  parseTextRow,
} from './result.ts';

export type QueryResult =
  | Readonly<{ kind: 'ok'; ok: OkPacket }>
  | Readonly<{ kind: 'err'; err: ErrPacket }>
  | Readonly<{ kind: 'rows'; columns: readonly string[]; rows: readonly (readonly (string | null)[])[] }>;

/** Answers to our own queries have few rows; what is above is an error, not a reason to fill memory. */
export const RESULT_ROWS_MAX = 100_000;
const COLUMNS_MAX = 4096;

/**
 * Collects the packets that answer one COM_QUERY (a single statement, text protocol).
 *
 *   start ──OK/ERR──► done
 *     └─count─► columns ─(last, EOF unless deprecated)─► rows ──EOF/OK/ERR──► done
 */
export class ResultReader {
  readonly #deprecateEof: boolean;
  #stage: 'start' | 'columns' | 'columnsEof' | 'rows' | 'done' = 'start';
  #columnCount = 0;
  readonly #columns: string[] = [];
  readonly #rows: (string | null)[][] = [];

  constructor(options: Readonly<{ deprecateEof: boolean }>) {
    this.#deprecateEof = options.deprecateEof;
  }

  /** The result once its last packet is in, else null. Throws MYSQL_PROTOCOL or TOO_LARGE. */
  push(payload: Uint8Array): QueryResult | null {
    if (this.#stage !== 'columns' && isErr(payload)) return this.#finish({ kind: 'err', err: parseErr(payload) });
    switch (this.#stage) {
      case 'start':
        if (isOk(payload)) return this.#finish({ kind: 'ok', ok: parseOk(payload) });
        this.#columnCount = parseColumnCount(payload);
        if (this.#columnCount === 0 || this.#columnCount > COLUMNS_MAX) {
          throw new PhxError('MYSQL_PROTOCOL', `read result: ${this.#columnCount} columns`);
        }
        this.#stage = 'columns';
        return null;
      case 'columns':
        this.#columns.push(parseColumnName(payload));
        if (this.#columns.length === this.#columnCount) this.#stage = this.#deprecateEof ? 'rows' : 'columnsEof';
        return null;
      case 'columnsEof':
        if (!isEof(payload)) throw new PhxError('MYSQL_PROTOCOL', 'read result: no EOF after the columns');
        this.#stage = 'rows';
        return null;
      case 'rows':
        if (this.#deprecateEof ? isResultEnd(payload) : isEof(payload)) {
          return this.#finish({ kind: 'rows', columns: this.#columns, rows: this.#rows });
        }
        if (this.#rows.length >= RESULT_ROWS_MAX) {
          throw new PhxError('TOO_LARGE', `read result: more than ${RESULT_ROWS_MAX} rows`);
        }
        this.#rows.push(parseTextRow(payload, this.#columnCount));
        return null;
      case 'done':
        throw new PhxError('MYSQL_PROTOCOL', 'read result: a packet after its end');
    }
  }

  #finish(result: QueryResult): QueryResult {
    this.#stage = 'done';
    return result;
  }
}
