/**
 * Records mysql/testdata/ from a real mysqld (8.3 or later, for tags):
 *
 *   node test/support/record-fixtures.ts SOCKET DATADIR
 *
 * The server must be a throw-away one: its binlogs and GTIDs are reset. It needs an empty password for root@localhost,
 * --log-bin=DATADIR/mysql-bin --gtid-mode=ON --enforce-gtid-consistency=ON --server-id=7 and the semisync_source plugin.
 * Everything recorded is checked by test/unit/mysql; expected.json holds what the server itself says about it.
 */
import { copyFileSync, mkdirSync, writeFileSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { EVENT_TYPE, parseEventHeader, parseHeartbeat, parseRotate } from '../../mysql/binlog-event.ts';
import { CAPABILITY } from '../../mysql/capabilities.ts';
import {
  BINLOG_DUMP_HEARTBEAT_V2,
  BINLOG_DUMP_NON_BLOCK,
  COMMAND,
  encodeBinlogDump,
  encodeBinlogDumpGtid,
  encodeRegisterReplica,
} from '../../mysql/command.ts';
import { GtidSet } from '../../mysql/gtid-set.ts';
import { encodeAuthMoreData, encodeHandshake } from '../../mysql/handshake.ts';
import { encodePacket, PacketReader } from '../../mysql/packet.ts';
import { encodeOk, encodeResultSet, isEof, isErr, parseErr } from '../../mysql/result.ts';
import { encodeAck, parseDumpPacket } from '../../mysql/semi-sync.ts';
import { RawMysql } from './raw-mysql.ts';

const USER = 'fixture';
const PASSWORD = 'fixture-password';
const OTHER_UUID = '00000000-1111-2222-3333-444444444444';
const OUT = join(import.meta.dirname, '../../mysql/testdata');

const save = (name: string, bytes: Uint8Array): void => writeFileSync(join(OUT, name), bytes);

async function workload(db: RawMysql): Promise<void> {
  await db.run(
    'CREATE DATABASE f',
    'CREATE TABLE f.t (id INT PRIMARY KEY, v VARCHAR(2000))',
    "INSERT INTO f.t VALUES (1, 'one'), (2, 'zwei'), (3, 'trois')",
    'BEGIN',
    "UPDATE f.t SET v = 'two' WHERE id = 2",
    'DELETE FROM f.t WHERE id = 3',
    'COMMIT',
    "INSERT INTO f.t VALUES (4, REPEAT('x', 300))",
    "SET gtid_next = 'AUTOMATIC:blue'",
    "INSERT INTO f.t VALUES (5, 'five')",
    'CREATE TABLE f.u (id INT PRIMARY KEY)',
    "SET gtid_next = 'AUTOMATIC:a_very_long_tag_of_thirty_two_ch'",
    "INSERT INTO f.t VALUES (6, 'six')",
    "SET gtid_next = 'AUTOMATIC'",
    'SET binlog_transaction_compression = ON',
    "INSERT INTO f.t VALUES (7, REPEAT('compress me ', 100))",
    "SET gtid_next = 'AUTOMATIC:blue'",
    "INSERT INTO f.t VALUES (8, REPEAT('compress me ', 100))",
    "SET gtid_next = 'AUTOMATIC'",
    "XA START 'c'",
    "INSERT INTO f.t VALUES (9, REPEAT('compress me ', 10))",
    "XA END 'c'",
    "XA PREPARE 'c'",
    "XA COMMIT 'c'",
    'SET binlog_transaction_compression = OFF',
    "XA START 'gtrid', 'bqual', 7",
    "INSERT INTO f.t VALUES (10, 'xa')",
    "XA END 'gtrid', 'bqual', 7",
    "XA PREPARE 'gtrid', 'bqual', 7",
    "XA COMMIT 'gtrid', 'bqual', 7",
    "XA START 'r'",
    "INSERT INTO f.t VALUES (11, 'gone')",
    "XA END 'r'",
    "XA PREPARE 'r'",
    "XA ROLLBACK 'r'",
    "XA START 'o'",
    "INSERT INTO f.t VALUES (12, 'one phase')",
    "XA END 'o'",
    "XA COMMIT 'o' ONE PHASE",
    'FLUSH BINARY LOGS',
    "INSERT INTO f.t VALUES (13, 'second file')",
    `SET gtid_next = '${OTHER_UUID}:5'`,
    'BEGIN',
    'COMMIT',
    `SET gtid_next = '${OTHER_UUID}:tagged:70000'`,
    "INSERT INTO f.t VALUES (14, 'foreign')",
    "SET gtid_next = 'AUTOMATIC'",
    'SET binlog_rows_query_log_events = ON',
    "INSERT INTO f.t VALUES (15, 'with its statement')",
    'SET binlog_rows_query_log_events = OFF',
    'FLUSH BINARY LOGS',
    "INSERT INTO f.t VALUES (16, 'third file')",
  );
}

type Dump = Readonly<{ semiSync: boolean; has: GtidSet; flags: number }>;

/**
 * Dumps until a heartbeat from the end of the newest file (others come after skipped transactions). `live` runs at the
 * first such one, and the dump goes on to the next. Acks what asks for it.
 */
async function recordDump(socket: string, dump: Dump, live?: () => Promise<void>): Promise<Buffer> {
  const db = await RawMysql.open(socket, USER, PASSWORD);
  await db.run(
    "SET @source_binlog_checksum = 'CRC32'",
    'SET @source_heartbeat_period = 300000000',
    "SET @replica_uuid = '99999999-9999-9999-9999-999999999999'",
    ...(dump.semiSync ? ['SET @rpl_semi_sync_replica = 1'] : []),
  );
  db.send(encodeRegisterReplica({ serverId: 99, host: 'fixture', user: '', password: '', port: 0 }));
  await db.next();
  const gtidSet = dump.has.encode();
  const newest = (await db.rows('SHOW BINARY LOGS')).at(-1) as string[];
  db.cut();
  db.send(encodeBinlogDumpGtid({ flags: dump.flags, serverId: 99, file: '', position: 4, gtidSet }));
  let running: Promise<void> | null = null;
  let file = '';
  for (;;) {
    const payload = await db.next();
    if (isErr(payload)) throw new Error(parseErr(payload).message);
    const { event, ackRequested } = parseDumpPacket(payload, { semiSync: dump.semiSync });
    const { type, logPos } = parseEventHeader(event);
    if (type === EVENT_TYPE.ROTATE) file = parseRotate(event).file;
    if (ackRequested) db.send(encodeAck(file, logPos));
    if (type !== EVENT_TYPE.HEARTBEAT && type !== EVENT_TYPE.HEARTBEAT_V2) continue;
    if (running === null && parseHeartbeat(event).position !== Number(newest[1])) continue;
    if (live === undefined || running !== null) break;
    running = live();
  }
  await running;
  const { server } = db.cut();
  db.close();
  return server;
}

/** Plays a source for the I/O thread of the mysqld itself, to record what a real replica says. */
async function recordReplica(db: RawMysql): Promise<Buffer> {
  const sent: Buffer[] = [];
  let onDump: () => void = () => {};
  const dumped = new Promise<void>((resolve) => {
    onDump = resolve;
  });
  const serve = (socket: Socket): void => {
    const reader = new PacketReader();
    let stage: 'login' | 'commands' = 'login';
    const scramble = Buffer.from('abcdefghijklmnopqrst');
    const capabilities =
      CAPABILITY.PROTOCOL_41 |
      CAPABILITY.SECURE_CONNECTION |
      CAPABILITY.PLUGIN_AUTH |
      CAPABILITY.CONNECT_ATTRS |
      CAPABILITY.PLUGIN_AUTH_LENENC_CLIENT_DATA |
      CAPABILITY.TRANSACTIONS |
      CAPABILITY.CONNECT_WITH_DB;
    const authPlugin = 'caching_sha2_password';
    socket.write(
      encodePacket(
        encodeHandshake({
          serverVersion: '9.7.4',
          connectionId: 1,
          scramble,
          authPlugin,
          capabilities,
          charset: 255,
          status: 2,
        }),
        0,
      ),
    );
    socket.on('error', () => {});
    socket.on('data', (chunk: Buffer) => {
      sent.push(chunk);
      reader.push(chunk);
      for (let packet = reader.next(); packet !== null; packet = reader.next()) {
        const { payload, sequence } = packet;
        if (stage === 'login') {
          stage = 'commands';
          socket.write(encodePacket(encodeAuthMoreData(3), sequence + 1));
          socket.write(encodePacket(encodeOk(), sequence + 2));
        } else if (payload[0] === COMMAND.BINLOG_DUMP_GTID) {
          onDump();
        } else {
          socket.write(answer(payload));
        }
      }
    });
  };
  const server = createServer(serve);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  const port = typeof address === 'object' && address !== null ? address.port : 0;
  await db.run(
    `CHANGE REPLICATION SOURCE TO SOURCE_HOST='127.0.0.1', SOURCE_PORT=${port}, SOURCE_USER='repl', SOURCE_PASSWORD='secret',
     SOURCE_AUTO_POSITION=1, SOURCE_SSL=0, GET_SOURCE_PUBLIC_KEY=1`,
    'START REPLICA IO_THREAD',
  );
  await dumped;
  server.close();
  await db.run('STOP REPLICA', 'RESET REPLICA ALL');
  return Buffer.concat(sent);
}

function answer(payload: Buffer): Buffer {
  const sql = payload[0] === COMMAND.QUERY ? payload.subarray(1).toString() : '';
  const rows = (name: string, value: string): Buffer => encodeResultSet([name], [[value]], 1, { deprecateEof: false });
  if (/UNIX_TIMESTAMP/i.test(sql)) return rows('t', String(Math.floor(Date.now() / 1000)));
  if (/@@GLOBAL.SERVER_ID/i.test(sql)) return rows('id', '4242');
  if (/SELECT @source_binlog_checksum/i.test(sql)) return rows('c', 'CRC32');
  if (/@@GLOBAL.GTID_MODE/i.test(sql)) return rows('m', 'ON');
  if (/@@GLOBAL.SERVER_UUID/i.test(sql)) return rows('u', OTHER_UUID);
  if (/^SELECT/i.test(sql)) return rows('x', '1');
  return encodePacket(encodeOk(), 1);
}

async function main(): Promise<void> {
  const [socket, datadir] = process.argv.slice(2);
  if (socket === undefined || datadir === undefined) throw new Error('usage: record-fixtures.ts SOCKET DATADIR');
  mkdirSync(OUT, { recursive: true });
  const root = await RawMysql.open(socket, 'root', '');
  await root.run(
    'SET GLOBAL rpl_semi_sync_source_enabled = OFF',
    'SET sql_log_bin = 0',
    `DROP DATABASE IF EXISTS f`,
    `DROP USER IF EXISTS ${USER}`,
    `CREATE USER ${USER} IDENTIFIED WITH caching_sha2_password BY '${PASSWORD}'`,
    `GRANT ALL ON *.* TO ${USER}`,
    'SET sql_log_bin = 1',
    'RESET BINARY LOGS AND GTIDS',
  );
  // The first login of an account is a full exchange (clear text over the local socket), later ones are fast.
  for (const kind of ['full', 'fast']) {
    const db = await RawMysql.open(socket, USER, PASSWORD);
    const { server, client } = db.cut();
    save(`login-${kind}.server.bin`, server);
    save(`login-${kind}.client.bin`, client);
    db.close();
  }
  const db = await RawMysql.open(socket, USER, PASSWORD);
  db.cut();
  for (const [name, sql] of [
    ['ok', 'SET @a = 1'],
    ['err', 'SELECT * FROM f.missing'],
    ['rows', "SELECT 1 AS one, NULL AS nothing, 'grün' AS text UNION SELECT 2, '', REPEAT('y', 300)"],
  ] as const) {
    await db.query(sql);
    save(`${name}.server.bin`, db.cut().server);
  }
  await workload(db);
  const files: Record<string, unknown> = {};
  for (const [name] of await root.rows('SHOW BINARY LOGS')) {
    const events = await root.rows(`SHOW BINLOG EVENTS IN '${name}'`);
    files[name!] = events.map(([, pos, type, , end, info]) => ({ pos: Number(pos), type, end: Number(end), info }));
    copyFileSync(join(datadir, name!), join(OUT, `binlog.${name!.split('.')[1]}`));
  }
  const [[gtidExecuted, serverUuid, version]] = (await root.rows(
    'SELECT @@gtid_executed, @@server_uuid, @@version',
  )) as [[string, string, string]];
  save(
    'dump-plain.bin',
    await recordDump(socket, { semiSync: false, has: GtidSet.EMPTY, flags: BINLOG_DUMP_HEARTBEAT_V2 }),
  );
  const half = GtidSet.parse(`${serverUuid}:1-4:blue:1`);
  save('dump-middle.bin', await recordDump(socket, { semiSync: false, has: half, flags: 0 }));
  // A dump by file and position: what a source makes of a format description in the middle of a file.
  const byPosition = await RawMysql.open(socket, USER, PASSWORD);
  await byPosition.run("SET @source_binlog_checksum = 'CRC32'", 'SET @source_heartbeat_period = 300000000');
  byPosition.cut();
  const [last] = (await root.rows('SHOW BINARY LOGS')).at(-1) as [string];
  byPosition.send(encodeBinlogDump({ flags: BINLOG_DUMP_NON_BLOCK, serverId: 98, file: last, position: 405 }));
  while (!isEof(await byPosition.next()));
  save('dump-position.bin', byPosition.cut().server);
  byPosition.close();
  save('replica.client.bin', await recordReplica(root));
  await root.run('SET GLOBAL rpl_semi_sync_source_enabled = ON', 'SET GLOBAL rpl_semi_sync_source_timeout = 10000');
  const live = (): Promise<void> => db.run("INSERT INTO f.t VALUES (17, 'waits for its ack')", 'FLUSH BINARY LOGS');
  save('dump-semi-sync.bin', await recordDump(socket, { semiSync: true, has: GtidSet.EMPTY, flags: 0 }, live));
  await root.run('SET GLOBAL rpl_semi_sync_source_enabled = OFF');
  const expected = { version, serverUuid, gtidExecuted, half: half.toString(), user: USER, password: PASSWORD, files };
  writeFileSync(join(OUT, 'expected.json'), `${JSON.stringify(expected, null, 1)}\n`);
  db.close();
  root.close();
}

await main();
