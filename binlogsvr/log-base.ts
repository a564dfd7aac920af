import { z } from 'zod';
import { instanceId } from '../base/brands.ts';
import { PhxError } from '../base/errors.ts';
import { stateFromJson } from './state-machine.ts';
import type { ReplicatedState } from './state-types.ts';
import type { LogBase } from './store-port.ts';

const BaseJson = z.object({
  appliedIndex: z.number().int().positive().transform(instanceId),
  json: z.string(),
  formatDescription: z.base64(),
});

/** What a peer is sent in the place of the log up to `base.appliedIndex`; equal bases are equal bytes on all nodes. */
export function encodeBase({ appliedIndex, json, formatDescription }: LogBase): Buffer {
  return Buffer.from(JSON.stringify({ appliedIndex, json, formatDescription }));
}

/** @throws PhxError STORE_CORRUPT on anything encodeBase cannot have written of a state between two transactions */
export function decodeBase(bytes: Uint8Array): Readonly<{ base: LogBase; state: ReplicatedState }> {
  let base: LogBase;
  try {
    base = BaseJson.parse(JSON.parse(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString()));
  } catch (error) {
    throw new PhxError('STORE_CORRUPT', `read snapshot: ${bytes.length} bytes are none`, { cause: error });
  }
  const state = stateFromJson(base.json);
  if (state.appliedIndex !== base.appliedIndex || state.chunk !== null || state.baseline === null) {
    throw new PhxError(
      'STORE_CORRUPT',
      `read snapshot: the state of ${state.appliedIndex} is none of ${base.appliedIndex}`,
    );
  }
  return { base, state };
}
