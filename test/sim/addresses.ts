import type { NodeId } from '../../base/brands.ts';
import type { NodeAddress } from '../../base/topology.ts';
import type { PeerAddress } from '../../binlogsvr/values.ts';

/** Nobody dials it: the simulated transports go by the node. */
export function addressOf(id: NodeId): NodeAddress {
  return { id, host: `node-${id}`, rw: 1, ro: 2, dump: 3, rpc: 4, mysql: 5, http: 6 };
}

/** The same as the log has it. */
export function peerAddressOf(id: NodeId): PeerAddress {
  const { host, rpc, rw, ro, dump, mysql, http } = addressOf(id);
  return { host, rpc, ports: { rw, ro, dump, mysql, http } };
}
