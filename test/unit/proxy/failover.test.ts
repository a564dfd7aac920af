import { describe, expect, it } from 'vitest';
import { encodePacket } from '../../../mysql/packet.ts';
import { parseErr } from '../../../mysql/result.ts';
import { type Client, FakeBackend, GREETING, LOGIN, leaseFor, OK, TestWorker, until } from './fakes.ts';

const QUERY = encodePacket(Buffer.from('\x03select 1'), 0);

/** Answers the login with OK; a query is answered by `onQuery`. */
function server(onQuery: (write: (bytes: Buffer) => void) => void = () => {}) {
  return FakeBackend.start((socket) => {
    socket.once('data', () => {
      socket.write(OK);
      socket.on('data', () => onQuery((bytes) => socket.write(bytes)));
    });
  });
}

async function login(client: Client): Promise<void> {
  await client.read(GREETING.length);
  client.socket.write(LOGIN);
  await client.read(GREETING.length + OK.length);
  client.received = Buffer.alloc(0);
}

describe('sessions of a former master', () => {
  it('1000 idle sessions are cut within 200 ms, and told why while there is time for it', async () => {
    await using former = await server();
    await using proxy = await TestWorker.start();
    proxy.master(1, former.port, 4);
    const clients: Client[] = [];
    while (clients.length < 1000) {
      const batch = Array.from({ length: 100 }, () => proxy.rw());
      await Promise.all(batch.map(login));
      clients.push(...batch);
    }
    // Processor time: this machine may be busy with other tests.
    const before = process.cpuUsage();
    proxy.fenced(4);
    const used = process.cpuUsage(before);
    expect((used.user + used.system) / 1000).toBeLessThan(200);
    await until(() => clients.every((client) => client.ended), 'all to be cut');
    const told = clients.filter((client) => client.received.length > 0);
    expect(told.length).toBeGreaterThan(0);
    for (const client of told) {
      expect(client.received[3]).toBe(0);
      expect(parseErr(client.received.subarray(4))).toEqual({
        errno: 1053,
        sqlState: '08S01',
        message: 'phxsql: session closed: node 1 is no longer master: epoch 4 is fenced; waiting for an election',
      });
    }
    await until(() => former.sockets.size === 0, 'the server connections to be closed');
    expect(proxy.worker.stats.rw).toMatchObject({ connections: 0, cut: 1000 });
  });

  it('a newer epoch cuts too, even when the fence was never heard, and new connections go to the new master', async () => {
    await using former = await server();
    await using successor = await server();
    await using proxy = await TestWorker.start();
    proxy.master(1, former.port, 4);
    using client = proxy.rw();
    await login(client);
    proxy.master(2, successor.port, 5);
    await client.end();
    expect(client.error.text).toContain('node 1 is no longer master: epoch 5 began');
    using next = proxy.rw();
    await login(next);
    expect(proxy.worker.stats.rw.sessions).toEqual({ 2: 1 });
  });

  it('the same node elected again: sessions of its former epoch are cut', async () => {
    await using backend = await server();
    await using proxy = await TestWorker.start();
    proxy.master(1, backend.port, 4);
    using client = proxy.rw();
    await login(client);
    proxy.master(1, backend.port, 5);
    await client.end();
  });

  it('a request in flight hears a lost connection, not an answer', async () => {
    await using former = await server();
    await using proxy = await TestWorker.start();
    proxy.master(1, former.port, 4);
    using client = proxy.rw();
    await login(client);
    client.socket.write(encodePacket(Buffer.from('\x03commit'), 0));
    // The bytes must have passed the proxy: the server has them.
    await until(() => [...former.sockets].every((s) => s.bytesRead > LOGIN.length), 'the commit to be under way');
    proxy.fenced(4);
    await client.end();
    expect(client.received.length).toBe(0);
  });

  it('never puts an error inside a packet', async () => {
    const row = encodePacket(Buffer.alloc(1000, 1), 1);
    await using former = await server((write) => write(row.subarray(0, 500)));
    await using proxy = await TestWorker.start();
    proxy.master(1, former.port, 4);
    using client = proxy.rw();
    await login(client);
    client.socket.write(QUERY);
    await client.read(500);
    proxy.fenced(4);
    await client.end();
    expect(client.received).toEqual(row.subarray(0, 500));
  });

  it('a session that does not read is cut all the same', async () => {
    const block = Buffer.alloc(1024 * 1024);
    await using former = await server((write) => {
      for (let i = 0; i < 32; i += 1) write(block);
    });
    await using proxy = await TestWorker.start();
    proxy.master(1, former.port, 4);
    using client = proxy.rw();
    await login(client);
    client.socket.pause();
    client.socket.write(QUERY);
    await until(() => [...former.sockets].every((s) => s.writableLength > 0), 'the result to be stuck');
    proxy.fenced(4);
    expect(proxy.worker.stats.rw.connections).toBe(0);
    await until(() => former.sockets.size === 0, 'the server connection to be closed');
  });

  it('read-only sessions stay through a failover, except on the node that is elected', async () => {
    await using a = await server();
    await using b = await server();
    await using proxy = await TestWorker.start();
    proxy.slaves({ node: 2, port: a.port }, { node: 3, port: b.port });
    const clients = [proxy.ro(), proxy.ro()];
    for (const client of clients) await login(client);
    expect(proxy.worker.stats.ro.sessions).toEqual({ 2: 1, 3: 1 });
    proxy.fenced(4);
    expect(proxy.worker.stats.ro.sessions).toEqual({ 2: 1, 3: 1 });
    proxy.set({ epoch: 5, elected: 3, closedEpoch: 4 });
    expect(proxy.worker.stats.ro.sessions).toEqual({ 2: 1 });
    await until(() => clients.some((client) => client.ended), 'the session on node 3 to end');
    for (const client of clients) client[Symbol.dispose]();
  });
});

describe('fresh reads (I5)', () => {
  it('a result that arrives after the lease bound is not forwarded', async () => {
    let answer: (bytes: Buffer) => void = () => {};
    await using backend = await server((write) => {
      answer = write;
    });
    await using proxy = await TestWorker.start();
    proxy.master(1, backend.port, 4);
    using client = proxy.rw();
    await login(client);
    client.socket.write(QUERY);
    await until(() => [...backend.sockets].every((s) => s.bytesRead > LOGIN.length), 'the query to be there');
    proxy.set(leaseFor(-1)); // the bound ran out; nobody said anything about a fence
    expect(proxy.worker.stats.rw.connections).toBe(1);
    answer(OK);
    await client.end();
    expect(client.received.length).toBe(0);
    expect(proxy.worker.stats.rw).toMatchObject({ connections: 0, cut: 1 });
  });

  it('a result under way is cut where the bound passes', async () => {
    let send: (bytes: Buffer) => void = () => {};
    await using backend = await server((write) => {
      send = write;
      write(encodePacket(Buffer.from('first row'), 1));
    });
    await using proxy = await TestWorker.start();
    proxy.master(1, backend.port, 4);
    using client = proxy.rw();
    await login(client);
    client.socket.write(QUERY);
    await client.read(13);
    proxy.set(leaseFor(-1));
    send(encodePacket(Buffer.from('second row'), 2));
    await client.end();
    expect(client.received.includes('first row')).toBe(true);
    expect(client.received.includes('second row')).toBe(false);
  });

  it('time alone ends the bound: no view has to come (frozen supervisor, frozen proxy)', async () => {
    let answer: (bytes: Buffer) => void = () => {};
    await using backend = await server((write) => {
      answer = write;
    });
    await using proxy = await TestWorker.start();
    proxy.master(1, backend.port, 4);
    using client = proxy.rw();
    await login(client);
    proxy.set(leaseFor(300));
    client.socket.write(QUERY);
    // The whole process stands still past the bound, with the answer already in the kernel.
    await until(() => [...backend.sockets].every((s) => s.bytesRead > LOGIN.length), 'the query to be there');
    answer(OK);
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 400);
    await client.end();
    expect(client.received.includes(OK)).toBe(false);
  });

  it('wall time beyond the bound counts as well (guest suspended)', async () => {
    await using backend = await server((write) => write(OK));
    await using proxy = await TestWorker.start();
    proxy.master(1, backend.port, 4);
    using client = proxy.rw();
    await login(client);
    proxy.set({ ...leaseFor(60_000), readUntilWall: Date.now() - 1 });
    client.socket.write(QUERY);
    await client.end();
    expect(client.received.includes(OK)).toBe(false);
  });

  it('idle sessions are closed when the bound passed long ago without any news', async () => {
    await using backend = await server();
    await using proxy = await TestWorker.start({ leaseLostMs: 300 });
    proxy.master(1, backend.port, 4);
    using client = proxy.rw();
    await login(client);
    proxy.set(leaseFor(100));
    await client.end();
    expect(client.error.text).toContain('the lease of the master was not confirmed for too long');
  });

  it('a lease confirmed again in time leaves idle sessions alone', async () => {
    await using backend = await server((write) => write(OK));
    await using proxy = await TestWorker.start();
    proxy.master(1, backend.port, 4);
    using client = proxy.rw();
    await login(client);
    proxy.set({ ...leaseFor(-500), master: null, reason: 'not confirmed' });
    proxy.master(1, backend.port, 4);
    client.socket.write(QUERY);
    expect(await client.read(OK.length)).toEqual(OK);
  });

  it('read-only results need no lease', async () => {
    await using backend = await server((write) => write(OK));
    await using proxy = await TestWorker.start();
    proxy.slaves({ node: 2, port: backend.port });
    using client = proxy.ro();
    await login(client);
    client.socket.write(QUERY);
    expect(await client.read(OK.length)).toEqual(OK);
  });
});
