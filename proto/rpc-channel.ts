import { timingSafeEqual } from 'node:crypto';
import { readFileSync } from 'node:fs';
import {
  type ChannelCredentials,
  type ChannelOptions,
  credentials,
  type GrpcObject,
  Metadata,
  ServerCredentials,
  type ServiceClientConstructor,
} from '@grpc/grpc-js';
import { rpcToken } from '../base/accounts.ts';
import type { Security } from '../base/topology.ts';
import { loadServices } from './loader.ts';

const MESSAGE_BYTES_MAX = 64 * 1024 * 1024;

/**
 * gRPC-js's defaults hurt (design section 11): a 4 MiB limit, no keepalive, reconnects after up to 120 s, and a window of
 * 64 KiB, which at 10 ms round trip is 3.4 MB/s; only the window of what a client receives can be raised.
 */
export const CHANNEL_OPTIONS: ChannelOptions = {
  'grpc.max_receive_message_length': MESSAGE_BYTES_MAX,
  'grpc.max_send_message_length': MESSAGE_BYTES_MAX,
  'grpc.keepalive_time_ms': 1000,
  'grpc.keepalive_timeout_ms': 1000,
  'grpc.keepalive_permit_without_calls': 1,
  'grpc.initial_reconnect_backoff_ms': 100,
  'grpc.max_reconnect_backoff_ms': 1000,
  'grpc.dns_min_time_between_resolutions_ms': 1000,
  'grpc-node.flow_control_window': 8 * 1024 * 1024,
  // A channel of its own: closing it drops a connection attempt that hangs, which a shared one would keep.
  'grpc.use_local_subchannel_pool': 1,
  'grpc.enable_http_proxy': 0,
  'grpc.service_config_disable_resolution': 1,
  'grpc.enable_retries': 0,
};

export const SERVER_OPTIONS: ChannelOptions = {
  'grpc.max_receive_message_length': MESSAGE_BYTES_MAX,
  'grpc.max_send_message_length': MESSAGE_BYTES_MAX,
  'grpc.keepalive_time_ms': 1000,
  'grpc.keepalive_timeout_ms': 1000,
  'grpc-node.flow_control_window': 8 * 1024 * 1024,
  // A second server on the port must fail, not share it.
  'grpc.so_reuseport': 0,
};

const loaded = new Map<string, GrpcObject>();

/** The generated client of `phxsql.<package>.<service>`; its `service` is what a server implements. */
export function serviceClass(
  file: 'paxos.proto' | 'binlogsvr.proto',
  service: 'Peer' | 'Binlogsvr' | 'Admin',
): ServiceClientConstructor {
  let root = loaded.get(file);
  if (root === undefined) {
    root = loadServices(file);
    loaded.set(file, root);
  }
  const outer = root.phxsql as GrpcObject;
  const inner = outer[file.slice(0, -'.proto'.length)] as GrpcObject;
  return inner[service] as ServiceClientConstructor;
}

export function channelCredentials(security: Security): ChannelCredentials {
  if (security.tls === null) return credentials.createInsecure();
  const { ca, cert, key } = security.tls;
  return credentials.createSsl(pem(ca), pem(key), pem(cert));
}

/** With TLS both sides show a certificate of the cluster's authority. */
export function serverCredentials(security: Security): ServerCredentials {
  if (security.tls === null) return ServerCredentials.createInsecure();
  const { ca, cert, key } = security.tls;
  return ServerCredentials.createSsl(pem(ca), [{ cert_chain: pem(cert), private_key: pem(key) }], true);
}

export function authMetadata(security: Security): Metadata {
  const metadata = new Metadata();
  metadata.set('authorization', `Bearer ${rpcToken(security.clusterSecret)}`);
  return metadata;
}

/** Whether the caller holds the cluster's secret; takes the same time whatever it presents. */
export function authorised(metadata: Metadata, security: Security): boolean {
  const expected = Buffer.from(`Bearer ${rpcToken(security.clusterSecret)}`);
  const given = Buffer.alloc(expected.length);
  const presented = Buffer.from(String(metadata.get('authorization')[0] ?? ''));
  presented.copy(given);
  return timingSafeEqual(given, expected) && presented.length === expected.length;
}

/** PEM text, or the path of a file that holds it. */
function pem(textOrPath: string): Buffer {
  return textOrPath.includes('-----BEGIN') ? Buffer.from(textOrPath) : readFileSync(textOrPath);
}
