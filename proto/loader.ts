import { fileURLToPath } from 'node:url';
import { type GrpcObject, loadPackageDefinition } from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';
import protobuf from 'protobufjs';

const path = (file: string): string => fileURLToPath(new URL(file, import.meta.url));

/** The one place that opens .proto files. Names stay camelCase, absent scalar fields get their default, bytes are Buffers. */
export function loadServices(file: 'paxos.proto' | 'binlogsvr.proto'): GrpcObject {
  return loadPackageDefinition(
    loadSync(path(file), { keepCase: false, longs: Number, enums: String, defaults: true, oneofs: true, arrays: true }),
  );
}

/** Message types for values that are stored, encoded without gRPC. */
export function loadMessages(file: 'log-value.proto'): protobuf.Root {
  return new protobuf.Root().loadSync(path(file), { keepCase: false });
}
