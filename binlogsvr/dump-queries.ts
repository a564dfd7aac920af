import type { GtidSet } from '../mysql/gtid-set.ts';

/** What a client of the dump server may be told. */
export type DumpFacts = Readonly<{
  serverId: number;
  serverUuid: string;
  serverVersion: string;
  file: string;
  position: number;
  gtidSet: GtidSet;
  nowWallMs: number;
}>;

export type QueryAnswer =
  | Readonly<{ kind: 'ok' }>
  | Readonly<{ kind: 'rows'; columns: readonly string[]; rows: readonly (readonly (string | null)[])[] }>
  | Readonly<{ kind: 'error'; errno: number; sqlState: string; message: string }>;

const ER_NOT_SUPPORTED_YET = 1235;

/** `@@global.name` and friends: what replicas, mysqlbinlog and CDC clients ask for before they dump. */
function systemVariable(name: string, facts: DumpFacts): string | null {
  const known: Readonly<Record<string, string>> = {
    server_id: String(facts.serverId),
    server_uuid: facts.serverUuid,
    gtid_mode: 'ON',
    version: facts.serverVersion,
    version_comment: 'PhxSQL binlogsvr',
    binlog_checksum: 'CRC32',
    binlog_format: 'ROW',
    binlog_row_image: 'FULL',
    binlog_row_metadata: 'MINIMAL',
    log_bin: '1',
    gtid_executed: facts.gtidSet.toString(),
    gtid_purged: '',
    rpl_semi_sync_source_enabled: '0',
    rpl_semi_sync_master_enabled: '0',
    max_allowed_packet: String(1024 ** 3),
    lower_case_table_names: '0',
    character_set_server: 'utf8mb4',
    collation_server: 'utf8mb4_0900_ai_ci',
    time_zone: 'SYSTEM',
    system_time_zone: 'UTC',
    wait_timeout: '28800',
    net_write_timeout: '60',
    interactive_timeout: '28800',
    auto_increment_increment: '1',
    read_only: '1',
    super_read_only: '1',
    server_id_bits: '32',
  };
  return known[name.toLowerCase()] ?? null;
}

/**
 * Answers the few statements a replica asks its source (design 9.12) and what public CDC clients ask beside them.
 * `variables` are the session's user variables, lower case, which SET fills in.
 */
export function answerQuery(sql: string, variables: Map<string, string>, facts: DumpFacts): QueryAnswer {
  const text = sql
    .replace(/\/\*.*?\*\//gs, ' ')
    .trim()
    .replace(/;+$/, '');
  if (/^set\s/i.test(text)) {
    for (const [, name, value] of text.matchAll(/@(\w+)\s*:?=\s*('[^']*'|"[^"]*"|@@[\w.]+|[^,\s]+)/g)) {
      variables.set((name as string).toLowerCase(), settingOf(value as string, facts));
    }
    return { kind: 'ok' };
  }
  if (/^(use\s|commit$|rollback$|begin$|start transaction|show warnings)/i.test(text)) return { kind: 'ok' };
  if (/^select\s/i.test(text)) return select(text.slice(6).trim(), variables, facts);
  const like =
    /^show\s+(?:global\s+|session\s+)?variables(?:\s+like\s+['"]([^'"]*)['"]|\s+where\s+variable_name\s*=\s*['"]([^'"]*)['"])?/i.exec(
      text,
    );
  if (like !== null) {
    const name = like[1] ?? like[2] ?? '';
    const value = systemVariable(name, facts);
    return { kind: 'rows', columns: ['Variable_name', 'Value'], rows: value === null ? [] : [[name, value]] };
  }
  if (/^show\s+(binary\s+log|master)\s+status/i.test(text)) {
    return {
      kind: 'rows',
      columns: ['File', 'Position', 'Binlog_Do_DB', 'Binlog_Ignore_DB', 'Executed_Gtid_Set'],
      rows: [[facts.file, String(facts.position), '', '', facts.gtidSet.toString()]],
    };
  }
  return unsupported(sql);
}

function select(list: string, variables: ReadonlyMap<string, string>, facts: DumpFacts): QueryAnswer {
  const expressions = list.replace(/\s+limit\s+\d+$/i, '').split(',');
  const columns: string[] = [];
  const row: (string | null)[] = [];
  for (const raw of expressions) {
    const [, expression = '', alias] = /^\s*(.*?)(?:\s+as\s+[`'"]?(\w+)[`'"]?)?\s*$/is.exec(raw) ?? [];
    columns.push(alias ?? expression);
    const system = /^@@(?:(?:global|session)\.)?(\w+)$/i.exec(expression);
    const user = /^@(\w+)$/.exec(expression);
    if (system !== null) {
      const value = systemVariable(system[1] as string, facts);
      if (value === null) {
        return { kind: 'error', errno: 1193, sqlState: 'HY000', message: `Unknown system variable '${system[1]}'` };
      }
      row.push(value);
    } else if (user !== null) row.push(variables.get((user[1] as string).toLowerCase()) ?? null);
    else if (/^unix_timestamp\(\)$/i.test(expression)) row.push(String(Math.floor(facts.nowWallMs / 1000)));
    else if (/^version\(\)$/i.test(expression)) row.push(facts.serverVersion);
    else if (/^\d+$/.test(expression)) row.push(expression);
    else return unsupported(`SELECT ${list}`);
  }
  return { kind: 'rows', columns, rows: [row] };
}

function settingOf(text: string, facts: DumpFacts): string {
  const system = /^@@(?:(?:global|session)\.)?(\w+)$/i.exec(text);
  if (system !== null) return systemVariable(system[1] as string, facts) ?? '';
  return text.replace(/^['"]|['"]$/g, '');
}

function unsupported(sql: string): QueryAnswer {
  return {
    kind: 'error',
    errno: ER_NOT_SUPPORTED_YET,
    sqlState: '42000',
    message: `this is the binlog store of a PhxSQL cluster, it answers only what replicas ask, not: ${sql.slice(0, 80)}`,
  };
}
