import { nodeId } from '../base/brands.ts';
import { PhxError } from '../base/errors.ts';
import type { ElectionRule, Member, MemberKind } from './values.ts';

/** phxsql.log.Member as protobufjs hands it out; in older logs only the first two fields are set. */
export type PlainMember = Readonly<{
  node: number;
  storeId: string;
  kind?: number;
  election?: number;
  host?: string;
  rpc?: number;
}>;

/** By their numbers in log-value.proto, for ever. */
export const KINDS = ['voter', 'learner', 'witness'] as const satisfies readonly MemberKind[];
export const RULES = ['neutral', 'prefer', 'never'] as const satisfies readonly ElectionRule[];

/** What is the usual is not written: a founder's bytes are those of older logs. */
export function memberToPlain(member: Member): PlainMember {
  const { node, storeId, kind, election, address } = member;
  return {
    node,
    storeId,
    ...(kind === undefined ? {} : { kind: KINDS.indexOf(kind) }),
    ...(election === undefined ? {} : { election: RULES.indexOf(election) }),
    ...address,
  };
}

/** @throws PhxError STORE_CORRUPT on what memberToPlain cannot have written */
export function memberFromPlain(plain: PlainMember | null | undefined): Member {
  if (!plain) throw new PhxError('STORE_CORRUPT', 'decode log value: a change of members names no member');
  const { node, storeId, host = '', rpc = 0 } = plain;
  const kind = KINDS[plain.kind ?? 0];
  if (kind === undefined) throw new PhxError('STORE_CORRUPT', `decode log value: ${plain.kind} is no kind of member`);
  const election = ruleFromPlain(plain.election ?? 0);
  return {
    node: nodeId(node),
    storeId,
    ...(kind === 'voter' ? {} : { kind }),
    ...(election === 'neutral' ? {} : { election }),
    ...(host === '' ? {} : { address: { host, rpc } }),
  };
}

/** @throws PhxError STORE_CORRUPT */
export function ruleFromPlain(n: number): ElectionRule {
  const rule = RULES[n];
  if (rule === undefined) throw new PhxError('STORE_CORRUPT', `decode log value: ${n} is no election rule`);
  return rule;
}
