import { Metadata, type ServiceError, status } from '@grpc/grpc-js';
import { type ErrorCode, PhxError, reasonOf } from '../base/errors.ts';

/** Trailer that carries a PhxError's code over gRPC, whose own codes are too few. */
const CODE_KEY = 'phx-code';

const STATUS_OF: Partial<Record<ErrorCode, status>> = {
  TIMEOUT: status.DEADLINE_EXCEEDED,
  CANCELLED: status.CANCELLED,
  UNAVAILABLE: status.UNAVAILABLE,
  PEER_REFUSED: status.UNAUTHENTICATED,
  BUSY: status.RESOURCE_EXHAUSTED,
  TOO_LARGE: status.RESOURCE_EXHAUSTED,
  GTID_INVALID: status.INVALID_ARGUMENT,
};

const CODE_OF: ReadonlyMap<status, ErrorCode> = new Map([
  [status.DEADLINE_EXCEEDED, 'TIMEOUT'],
  [status.CANCELLED, 'CANCELLED'],
  [status.UNAUTHENTICATED, 'PEER_REFUSED'],
  [status.RESOURCE_EXHAUSTED, 'TOO_LARGE'],
]);

/** What a server hands to gRPC for whatever was thrown. */
export function toServiceError(error: unknown): Partial<ServiceError> {
  const code: ErrorCode | null = error instanceof PhxError ? error.code : null;
  const metadata = new Metadata();
  if (code !== null) metadata.set(CODE_KEY, code);
  return {
    code: code === null ? status.INTERNAL : (STATUS_OF[code] ?? status.FAILED_PRECONDITION),
    details: reasonOf(error),
    metadata,
  };
}

/** What a client makes of a failed call. `what` names the call and the address. */
export function fromServiceError(error: unknown, what: string): PhxError {
  if (error instanceof PhxError) return error;
  const { code, details, metadata } = error as Partial<ServiceError>;
  const told = metadata?.get(CODE_KEY)[0];
  const text = `${what}: ${details ?? reasonOf(error)}`;
  if (typeof told === 'string') return new PhxError(told as ErrorCode, text, { cause: error });
  return new PhxError((code === undefined ? undefined : CODE_OF.get(code)) ?? 'UNAVAILABLE', text, { cause: error });
}

export const UNAUTHENTICATED = new PhxError('PEER_REFUSED', 'the caller does not hold the secret of this cluster');
