import { createServer } from 'node:net';
import { describe, expect, it } from 'vitest';
import { type Client, FakeBackend, GREETING, LOGIN, TestWorker, until } from './fakes.ts';

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}

describe('waiting for a master', () => {
  it('a connection waits and is served once there is one', async () => {
    await using backend = await FakeBackend.start();
    await using proxy = await TestWorker.start();
    proxy.fenced(3);
    using client = proxy.rw();
    await until(() => proxy.worker.stats.rw.waiting === 1, 'the client to wait');
    expect(client.received.length).toBe(0);
    proxy.master(2, backend.port, 4);
    expect(await client.read(GREETING.length)).toEqual(GREETING);
    expect(proxy.worker.stats.rw).toMatchObject({ waiting: 0, sessions: { 2: 1 } });
  });

  it('gets an error packet that says why when the bound passes', async () => {
    await using proxy = await TestWorker.start({ writeWaitMs: 150 });
    proxy.fenced(3);
    const startedAt = performance.now();
    using client = proxy.rw();
    await client.end();
    expect(performance.now() - startedAt).toBeGreaterThanOrEqual(149);
    expect(client.error).toMatchObject({ sequence: 0, errno: 1053 });
    expect(client.error.text).toMatch(/^phxsql: no master within \d+ ms: epoch 3 is fenced; waiting for an election$/);
    await until(() => proxy.worker.stats.rw.connections === 0, 'the connection to be forgotten');
  });

  it('a master whose lease bound passed takes no new connection', async () => {
    await using backend = await FakeBackend.start();
    await using proxy = await TestWorker.start({ writeWaitMs: 150 });
    proxy.master(1, backend.port, 4, -1);
    using client = proxy.rw();
    await client.end();
    expect(client.error.text).toContain('the lease of node 1 (epoch 4) is not confirmed any more');
    expect(backend.sockets.size).toBe(0);
  });

  it('a client that leaves while it waits frees its place', async () => {
    await using proxy = await TestWorker.start({ waitingMax: 2 });
    using stays = proxy.rw();
    const leaves = proxy.rw();
    await until(() => proxy.worker.stats.rw.waiting === 2, 'both to wait');
    leaves.socket.end();
    await until(() => proxy.worker.stats.rw.waiting === 1, 'one to have left');
    const resets = proxy.rw();
    await until(() => proxy.worker.stats.rw.waiting === 2, 'another to wait');
    resets.socket.resetAndDestroy();
    await until(() => proxy.worker.stats.rw.waiting === 1, 'it to have left');
    expect(stays.closed).toBe(false);
    expect(proxy.worker.stats.rw.connections).toBe(1);
  });

  it('no more than waitingMax wait; the next one is refused at once', async () => {
    await using proxy = await TestWorker.start({ waitingMax: 3 });
    const waiting = [proxy.rw(), proxy.rw(), proxy.rw()];
    await until(() => proxy.worker.stats.rw.waiting === 3, 'three to wait');
    using fourth = proxy.rw();
    await fourth.end();
    expect(fourth.error).toMatchObject({ sequence: 0, errno: 1040 });
    expect(fourth.error.text).toContain('3 connections wait already');
    for (const client of waiting) client[Symbol.dispose]();
  });

  it('no more than connectionsMax are served', async () => {
    await using backend = await FakeBackend.start();
    await using proxy = await TestWorker.start({ connectionsMax: 2 });
    proxy.master(1, backend.port, 1);
    const clients = [proxy.rw(), proxy.rw()];
    for (const client of clients) await client.read(GREETING.length);
    using third = proxy.rw();
    await third.end();
    expect(third.error).toMatchObject({
      sequence: 0,
      errno: 1040,
      text: 'phxsql: too many connections (2 on this port)',
    });
    clients[0]?.socket.destroy();
    await until(() => proxy.worker.stats.rw.connections === 1, 'a place');
    using fourth = proxy.rw();
    await fourth.read(GREETING.length);
    clients[1]?.[Symbol.dispose]();
  });

  it('keeps trying a master whose mysqld is not reachable, and names it when the bound passes', async () => {
    const port = await freePort();
    await using proxy = await TestWorker.start({ writeWaitMs: 300 });
    proxy.master(2, port, 4);
    using client = proxy.rw();
    await client.end();
    expect(client.error.text).toMatch(/mysqld of node 2: connect ECONNREFUSED/);

    await using proxy2 = await TestWorker.start();
    proxy2.master(2, port, 4);
    using patient = proxy2.rw();
    await until(() => proxy2.worker.stats.rw.waiting === 1, 'a failed try');
    const server = createServer((socket) => socket.write(GREETING)).listen(port, '127.0.0.1');
    await patient.read(GREETING.length);
    patient.socket.destroy();
    server.close();
  });

  it('a master that accepts and says nothing (frozen) is left when another one is elected', async () => {
    await using frozen = await FakeBackend.start(() => {}, null);
    await using backend = await FakeBackend.start();
    await using proxy = await TestWorker.start();
    proxy.master(1, frozen.port, 4);
    using client = proxy.rw();
    client.socket.write(LOGIN);
    await until(() => frozen.sockets.size === 1, 'the try');
    proxy.fenced(4);
    await until(() => frozen.sockets.size === 0 && proxy.worker.stats.rw.waiting === 1, 'the client to wait again');
    proxy.master(2, backend.port, 5);
    await client.read(GREETING.length);
  });

  it('a frozen master is named when the bound passes', async () => {
    await using frozen = await FakeBackend.start(() => {}, null);
    await using proxy = await TestWorker.start({ writeWaitMs: 100, greetingMs: 200 });
    proxy.master(1, frozen.port, 4);
    using client = proxy.rw();
    await client.end();
    expect(client.error.text).toMatch(/mysqld of node 1 accepted the connection but did not greet/);
  });
});

describe('read-only port', () => {
  it('goes to the local slave, to another when it is gone, and says why when there is none', async () => {
    await using local = await FakeBackend.start();
    await using remote = await FakeBackend.start();
    await using proxy = await TestWorker.start({ readWaitMs: 200 });
    proxy.slaves({ node: 1, port: local.port, local: true }, { node: 3, port: remote.port });
    using first = proxy.ro();
    await first.read(GREETING.length);
    expect(local.sockets.size).toBe(1);

    const gone = await freePort();
    proxy.slaves({ node: 1, port: gone, local: true }, { node: 3, port: remote.port });
    using second = proxy.ro();
    await second.read(GREETING.length);
    expect(remote.sockets.size).toBe(1);

    proxy.slaves({ node: 1, port: gone, local: true });
    using third = proxy.ro();
    await third.end();
    expect(third.error.errno).toBe(1053);
    expect(third.error.text).toMatch(/no healthy slave within \d+ ms: mysqld of node 1: connect ECONNREFUSED/);

    proxy.slaves();
    using fourth = proxy.ro();
    await fourth.end();
    expect(fourth.error.text).toMatch(/no healthy slave within \d+ ms: no node reports a healthy slave/);
  });

  it('spreads over remote slaves and does not need a master', async () => {
    await using a = await FakeBackend.start();
    await using b = await FakeBackend.start();
    await using proxy = await TestWorker.start();
    proxy.fenced(9);
    proxy.slaves({ node: 2, port: a.port }, { node: 3, port: b.port });
    const clients: Client[] = [];
    for (let i = 0; i < 10; i += 1) {
      const client = proxy.ro();
      await client.read(GREETING.length);
      clients.push(client);
    }
    expect(proxy.worker.stats.ro.sessions).toEqual({ 2: 5, 3: 5 });
    for (const client of clients) client[Symbol.dispose]();
  });

  it('leaves a slave that does not greet for another one', async () => {
    await using frozen = await FakeBackend.start(() => {}, null);
    await using remote = await FakeBackend.start();
    await using proxy = await TestWorker.start();
    proxy.slaves({ node: 1, port: frozen.port, local: true }, { node: 3, port: remote.port });
    using client = proxy.ro();
    await client.read(GREETING.length);
    await until(() => frozen.sockets.size === 0, 'the frozen one to be left');
  });
});
