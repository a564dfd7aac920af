import type { NodeId } from './brands.ts';

/** Where a node listens. Defaults (design): RW 54321, RO 54322, dump 6000, gRPC 17000, mysqld 11111, HTTP 18080. */
export type NodeAddress = Readonly<{
  id: NodeId;
  host: string;
  rw: number;
  ro: number;
  dump: number;
  rpc: number;
  mysql: number;
  http: number;
}>;

/** Where clients, followers and proxies reach a node: what peers need not know. */
export type NodePorts = Pick<NodeAddress, 'rw' | 'ro' | 'dump' | 'mysql' | 'http'>;

/** Milliseconds. The holder counts `leaseMs` from before it proposed; others wait `takeoverMs` from first accepting or learning. */
export type LeaseTimes = Readonly<{ leaseMs: number; renewMs: number; takeoverMs: number }>;

export const DEFAULT_LEASE: LeaseTimes = { leaseMs: 3000, renewMs: 500, takeoverMs: 3400 };

/** How processes of one cluster trust each other. Without `tls` all addresses must be loopback. */
export type Security = Readonly<{
  /** Bytes every node of the cluster holds; bearer of all RPC, source of internal passwords. */
  clusterSecret: string;
  tls: Readonly<{ ca: string; cert: string; key: string }> | null;
}>;
