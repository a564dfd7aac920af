import { createServer } from 'node:net';
import { nodeId } from '../../base/brands.ts';
import type { NodeAddress } from '../../base/topology.ts';

/** Nodes 1 to `count` on loopback, each with a free port for gRPC and none for anything else. */
export async function rpcNodes(count: number): Promise<NodeAddress[]> {
  const none = { rw: 0, ro: 0, dump: 0, mysql: 0, http: 0 };
  return (await freePorts(count)).map((rpc, i) => ({ id: nodeId(i + 1), host: '127.0.0.1', rpc, ...none }));
}

async function freePorts(count: number): Promise<number[]> {
  const servers = await Promise.all(
    Array.from({ length: count }, () => {
      const server = createServer();
      return new Promise<typeof server>((resolve) => server.listen(0, '127.0.0.1', () => resolve(server)));
    }),
  );
  return Promise.all(
    servers.map((server) => {
      const { port } = server.address() as { port: number };
      return new Promise<number>((resolve) => server.close(() => resolve(port)));
    }),
  );
}
