import { fork } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { describe, expect, it } from 'vitest';
import { silentLogger } from '../../../base/ports.ts';
import { encodePacket } from '../../../mysql/packet.ts';
import { fastClock } from '../../../proxy/fast-clock.ts';
import { DEFAULT_PROXY_LIMITS } from '../../../proxy/limits.ts';
import { NO_VIEW } from '../../../proxy/view.ts';
import { startProxyWorker } from '../../../proxy/worker.ts';
import { Client, FakeBackend, GREETING, LOGIN, leaseFor, nodes, OK, TestWorker, until } from './fakes.ts';

const MIB = 1024 * 1024;
const digest = (bytes: Buffer): string => createHash('sha1').update(bytes).digest('hex');

describe('splice', () => {
  it('passes 100 MB each way unharmed to slow readers, within bounded memory', async () => {
    const block = randomBytes(MIB);
    const blocks = 100;
    const wanted = createHash('sha1');
    for (let i = 0; i < blocks; i += 1) wanted.update(block);
    const hash = wanted.digest('hex');

    const upload = createHash('sha1');
    let uploaded = 0;
    await using backend = await FakeBackend.start((socket) => {
      let sent = 0;
      const send = (): void => {
        while (sent < blocks) {
          sent += 1;
          if (!socket.write(block)) return;
        }
      };
      socket.on('drain', send);
      send();
      socket.on('data', (chunk) => {
        upload.update(chunk);
        uploaded += chunk.length;
        socket.pause(); // a slow reader on this side too
        setImmediate(() => socket.resume());
      });
    });
    // In a process of its own, so that what it holds can be told from what the two ends hold.
    const child = fork(new URL('worker-process.ts', import.meta.url), { execArgv: [] });
    const [ports] = (await once(child, 'message')) as [{ rw: number }];
    const residentMib = (field: string): number => {
      const status = readFileSync(`/proc/${child.pid}/status`, 'utf8');
      return Number(new RegExp(`${field}:\\s+(\\d+) kB`).exec(status)?.[1]) / 1024;
    };
    const restMib = residentMib('VmRSS');
    const master = { node: 1, host: '127.0.0.1', port: backend.port };
    child.send({ kind: 'view', view: { ...NO_VIEW, seq: 1, epoch: 1, elected: 1, master, ...leaseFor(600_000) } });

    const { socket } = new Client(ports.rw);
    const download = createHash('sha1');
    let greetingLeft = GREETING.length;
    let downloaded = 0;
    socket.removeAllListeners('data');
    socket.on('data', (chunk: Buffer) => {
      const body = chunk.subarray(Math.min(greetingLeft, chunk.length));
      greetingLeft -= chunk.length - body.length;
      download.update(body);
      downloaded += body.length;
      socket.pause();
      setImmediate(() => socket.resume());
    });
    let written = 0;
    const write = (): void => {
      while (written < blocks) {
        written += 1;
        if (!socket.write(block)) return;
      }
    };
    socket.on('drain', write);
    write();
    await until(() => downloaded === blocks * MIB && uploaded === blocks * MIB, 'both transfers', 60_000);
    expect(download.digest('hex')).toBe(hash);
    expect(upload.digest('hex')).toBe(hash);
    // Measured 75-85, garbage included, with 200 MB as with 2 GB passed on; without back-pressure it would be all of them.
    expect(residentMib('VmHWM') - restMib).toBeLessThan(130);
    socket.destroy();
    child.disconnect();
  });

  it('stops reading from the server while its client does not read', async () => {
    let accepted = 0;
    await using backend = await FakeBackend.start((socket) => {
      const block = Buffer.alloc(64 * 1024);
      const more = (): void => {
        socket.write(block, () => {
          accepted += block.length;
          if (accepted < 200 * MIB) more();
        });
      };
      more();
    });
    await using proxy = await TestWorker.start();
    proxy.master(1, backend.port, 1);
    using client = proxy.rw();
    client.socket.pause();
    let before = -1;
    let same = 0;
    await until(() => {
      same = accepted === before ? same + 1 : 0;
      before = accepted;
      return same > 100;
    }, 'the transfer to stand still');
    expect(accepted).toBeLessThan(40 * MIB); // what the kernel's buffers hold, and two chunks of ours
  });

  it('keeps what a client says before the greeting, whatever it is, and passes it on', async () => {
    const seen: Buffer[] = [];
    await using backend = await FakeBackend.start((socket) => socket.on('data', (chunk) => seen.push(chunk)));
    await using proxy = await TestWorker.start();
    using client = proxy.rw();
    const garbage = [Buffer.from('PROXY TCP4 1.2.3.4'), Buffer.from([0xff, 0xff]), randomBytes(3000)];
    for (const piece of garbage) client.socket.write(piece);
    await until(() => proxy.worker.stats.rw.waiting === 1, 'the client to wait');
    proxy.master(1, backend.port, 1);
    await client.read(GREETING.length);
    client.socket.write(Buffer.from([1, 2])); // half a header
    const wanted = Buffer.concat([...garbage, Buffer.from([1, 2])]);
    await until(() => Buffer.concat(seen).length === wanted.length, 'the garbage to arrive');
    expect(digest(Buffer.concat(seen))).toBe(digest(wanted));
  });

  it('a half-closed client still gets its answer', async () => {
    await using backend = await FakeBackend.start((socket) => {
      socket.on('data', () => {});
      socket.on('end', () => socket.end(OK));
    });
    await using proxy = await TestWorker.start();
    proxy.master(1, backend.port, 1);
    using client = proxy.rw();
    await client.read(GREETING.length);
    client.socket.end(LOGIN);
    await client.end();
    expect(client.received.subarray(GREETING.length)).toEqual(OK);
    await until(() => proxy.worker.stats.rw.connections === 0 && backend.sockets.size === 0, 'both sides to be gone');
  });

  it.each(['end', 'reset'] as const)(
    'a server that dies inside a result (%s) closes the client after what it had sent',
    async (how) => {
      const half = encodePacket(Buffer.alloc(100_000, 7), 1).subarray(0, 70_000);
      await using backend = await FakeBackend.start((socket) => {
        socket.on('data', () => {
          socket.write(half, () => {
            // Give a reset nothing to destroy: it goes out once the proxy has taken all.
            setTimeout(() => (how === 'end' ? socket.end() : socket.resetAndDestroy()), 50);
          });
        });
      });
      await using proxy = await TestWorker.start();
      proxy.master(1, backend.port, 1);
      using client = proxy.rw();
      await client.read(GREETING.length);
      client.socket.write(LOGIN);
      await client.end();
      expect(client.ended).toBe(true); // a proper end of stream, not a reset
      expect(client.received.length).toBe(GREETING.length + half.length);
      await until(() => proxy.worker.stats.rw.connections === 0, 'the connection to be forgotten');
    },
  );

  it('a client that vanishes closes its server connection', async () => {
    await using backend = await FakeBackend.start();
    await using proxy = await TestWorker.start();
    proxy.master(1, backend.port, 1);
    const client = proxy.rw();
    await client.read(GREETING.length);
    expect(backend.sockets.size).toBe(1);
    client.socket.resetAndDestroy();
    await until(() => backend.sockets.size === 0 && proxy.worker.stats.rw.connections === 0, 'the session to end');
  });

  it('a port in use is said so, and nothing stays open', async () => {
    const other = createServer().listen(0, '127.0.0.1');
    await new Promise((resolve) => other.once('listening', resolve));
    const { port } = other.address() as { port: number };
    const start = (rw: number, ro: number) =>
      startProxyWorker({
        self: nodes(1)[0]!,
        listen: { host: '127.0.0.1', rw, ro },
        limits: DEFAULT_PROXY_LIMITS,
        clock: fastClock,
        log: silentLogger,
      });
    await expect(start(0, port)).rejects.toMatchObject({
      code: 'PORT_IN_USE',
      message: expect.stringContaining(`listen on 127.0.0.1:${port}`),
    });
    await expect(start(port, 0)).rejects.toMatchObject({ code: 'PORT_IN_USE' });
    other.close();
  });

  it('workers share a port', async () => {
    await using first = await TestWorker.start();
    const { rw, ro } = first.worker.ports;
    const second = await startProxyWorker({
      self: nodes(1)[0]!,
      listen: { host: '127.0.0.1', rw, ro },
      limits: DEFAULT_PROXY_LIMITS,
      clock: fastClock,
      log: silentLogger,
    });
    expect(second.ports).toEqual({ rw, ro });
    await second.close();
  });
});
