import { nodeId } from '../base/brands.ts';
import { PhxError } from '../base/errors.ts';
import type { NodePorts } from '../base/topology.ts';
import type { ElectionRule, Member, MemberKind, PeerAddress } from './values.ts';

type PortName = keyof NodePorts;

/** phxsql.log.Member as protobufjs hands it out; in older logs only the first two fields are set. */
export type PlainMember = Readonly<{
  node: number;
  storeId: string;
  kind?: number;
  election?: number;
}> &
  PlainAddress;

/** An address as Member, paxos.Address and MemberStatus have it: flat, absent or 0 what is not known. */
export type PlainAddress = Readonly<Partial<Record<'rpc' | PortName, number>> & { host?: string }>;

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
    ...(address === undefined ? {} : addressToPlain(address)),
  };
}

export function addressToPlain({ host, rpc, ports }: PeerAddress): PlainAddress {
  return { host, rpc, ...ports };
}

/** Undefined if it names no host. */
export function addressFromPlain(plain: PlainAddress): PeerAddress | undefined {
  const { host = '', rpc = 0, rw = 0, ro = 0, dump = 0, mysql = 0, http = 0 } = plain;
  if (host === '') return undefined;
  const known = [rw, ro, dump, mysql, http].some((port) => port !== 0);
  return { host, rpc, ...(known ? { ports: { rw, ro, dump, mysql, http } } : {}) };
}

/** @throws PhxError STORE_CORRUPT on what memberToPlain cannot have written */
export function memberFromPlain(plain: PlainMember | null | undefined): Member {
  if (!plain) throw new PhxError('STORE_CORRUPT', 'decode log value: a change of members names no member');
  const { node, storeId } = plain;
  const address = addressFromPlain(plain);
  const kind = KINDS[plain.kind ?? 0];
  if (kind === undefined) throw new PhxError('STORE_CORRUPT', `decode log value: ${plain.kind} is no kind of member`);
  const election = ruleFromPlain(plain.election ?? 0);
  return {
    node: nodeId(node),
    storeId,
    ...(kind === 'voter' ? {} : { kind }),
    ...(election === 'neutral' ? {} : { election }),
    ...(address === undefined ? {} : { address }),
  };
}

/** @throws PhxError STORE_CORRUPT */
export function ruleFromPlain(n: number): ElectionRule {
  const rule = RULES[n];
  if (rule === undefined) throw new PhxError('STORE_CORRUPT', `decode log value: ${n} is no election rule`);
  return rule;
}
