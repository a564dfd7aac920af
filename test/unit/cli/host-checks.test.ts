import { connect, createServer, type Socket } from 'node:net';
import { expect, test } from 'vitest';
import { nodeId } from '../../../base/brands.ts';
import { checkPorts, isListenedOn } from '../../../cli/host-checks.ts';

test('a port that only an outgoing connection holds is waited for, a listener is refused at once', async () => {
  const accepted: Socket[] = [];
  const server = createServer((socket) => accepted.push(socket.on('error', () => {})));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as { port: number };
  const client = connect({ host: '127.0.0.1', port });
  await new Promise((resolve) => client.once('connect', resolve));
  const held = client.localPort as number;
  const wanted = (at: number) => [{ node: nodeId(1), what: 'rw', host: '127.0.0.1', port: at }];
  expect(isListenedOn(port)).toBe(true);
  expect(isListenedOn(held)).toBe(false);
  await expect(checkPorts(wanted(port))).rejects.toThrow(/is taken/);
  const said: string[] = [];
  await checkPorts(wanted(held), (line) => {
    said.push(line);
    // The side that closes first keeps the port for a minute: let that be the other one.
    client.on('end', () => client.destroy());
    accepted[0]?.end();
  });
  expect(said.join()).toContain(`127.0.0.1:${held}`);
  server.close();
});
