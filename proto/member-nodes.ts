import { nodeId } from '../base/brands.ts';
import type { NodeAddress } from '../base/topology.ts';
import type { MemberStatus } from './binlogsvr-types.ts';

/**
 * Where the members of the log listen. What the log does not say (it is from before it carried addresses) is as configured
 * for that node; a port nobody knows is 0. In the order of the log.
 */
export function nodesOf(members: readonly MemberStatus[], configured: readonly NodeAddress[]): readonly NodeAddress[] {
  return members.map((member) => {
    const known = configured.find(({ id }) => id === member.node);
    const id = nodeId(member.node);
    if (member.host === '') return known ?? { id, host: '', rpc: 0, rw: 0, ro: 0, dump: 0, mysql: 0, http: 0 };
    const { host, rpc, rw, ro, dump, mysql, http } = member;
    if (known?.host !== host || known.rpc !== rpc) return { id, host, rpc, rw, ro, dump, mysql, http };
    return {
      id,
      host,
      rpc,
      rw: rw || known.rw,
      ro: ro || known.ro,
      dump: dump || known.dump,
      mysql: mysql || known.mysql,
      http: http || known.http,
    };
  });
}

export function sameAddress(a: NodeAddress, b: NodeAddress): boolean {
  return (['id', 'host', 'rpc', 'rw', 'ro', 'dump', 'mysql', 'http'] as const).every((what) => a[what] === b[what]);
}
