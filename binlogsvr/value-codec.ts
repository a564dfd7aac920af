import { epochOf, instanceId, nodeId } from '../base/brands.ts';
import { PhxError } from '../base/errors.ts';
import { unreachable } from '../base/invariant.ts';
import { type XaStep, XID_CHARS_MAX } from '../mysql/xa.ts';
import { loadMessages } from '../proto/loader.ts';
import { memberFromPlain, memberToPlain, type PlainMember, RULES, ruleFromPlain } from './member-codec.ts';
import type { AppendItem, LogValue } from './values.ts';

const ValueMessage = loadMessages('log-value.proto').lookupType('phxsql.log.Value');

/** Field number of Value, length-delimited: the first byte of every value. */
const tagOf = (field: number): number => (field << 3) | 2;
/** replace_store, add_member, remove_member, replace_member. */
const VOTER_TAGS: ReadonlySet<number | undefined> = new Set([8, 9, 11, 12].map(tagOf));
/** What says anything of members: those, baseline, add_learner and set_election. */
const MEMBER_TAGS: ReadonlySet<number | undefined> = new Set([2, 8, 9, 10, 11, 12, 13].map(tagOf));

/** What protobufjs hands out for log-value.proto: absent messages are null or undefined, absent scalars their default. */
type ValuePlain = Readonly<{
  noop?: object | null;
  baseline?: Readonly<{ node: number; gtidSet: string; members: readonly PlainMember[] }> | null;
  append?: Readonly<{ epoch: number; follows: number; items: readonly ItemPlain[] }> | null;
  elect?: Readonly<{ node: number; basedOnEpoch: number; executedUpTo: number; incarnation?: number }> | null;
  renew?: Readonly<{ epoch: number; renewal: number; incarnation?: number }> | null;
  fence?: Readonly<{ epoch: number; basedOnRenewal: number; by: number; release: boolean }> | null;
  transfer?: Readonly<{ epoch: number; to: number; executedUpTo: number }> | null;
  replaceStore?: Readonly<{ node: number; oldStoreId: string; newStoreId: string; configVersion: number }> | null;
  addMember?: Readonly<{ member?: PlainMember | null; configVersion: number }> | null;
  addLearner?: Readonly<{ member?: PlainMember | null; configVersion: number }> | null;
  removeMember?: Readonly<{ node: number; configVersion: number }> | null;
  replaceMember?: Readonly<{ node: number; member?: PlainMember | null; configVersion: number }> | null;
  setElection?: Readonly<{ node: number; election: number; configVersion: number }> | null;
  finalizeUpgrade?: Readonly<{ mysqlSeries: string }> | null;
}>;

type PartPlain = Readonly<{
  gtid: string;
  first: boolean;
  last: boolean;
  crc: number;
  events: Uint8Array;
  xa?: number;
  xid?: string;
}>;

/** Part.xa in log-value.proto, from 1. */
const XA_STEPS: readonly XaStep['kind'][] = ['prepare', 'commit', 'rollback', 'unclear'];

type ItemPlain = Readonly<{
  file?: Readonly<{ name: string; formatDescription: Uint8Array; tellsXa?: boolean }> | null;
  part?: PartPlain | null;
}>;

/** The value as it is in the log, on disk and on the wire (proto/log-value.proto). */
export function encodeValue(value: LogValue): Uint8Array {
  return ValueMessage.encode(toPlain(value)).finish();
}

/** Bytes of events are views into `bytes`, not copies. Throws STORE_CORRUPT on what encodeValue cannot have written. */
export function decodeValue(bytes: Uint8Array): LogValue {
  let plain: ValuePlain;
  try {
    plain = ValueMessage.decode(bytes) as unknown as ValuePlain;
  } catch (error) {
    throw new PhxError('STORE_CORRUPT', `decode log value: ${bytes.length} bytes are not a value`, { cause: error });
  }
  return fromPlain(plain, bytes.length);
}

/** Whether the voters may differ once this value is applied (see PaxosOptions.changesVoters); looks at one byte. */
export function changesVoters(bytes: Uint8Array): boolean {
  return VOTER_TAGS.has(bytes[0]);
}

/** Whether anything about the members may differ once this value is applied; looks at one byte. */
export function changesMembers(bytes: Uint8Array): boolean {
  return MEMBER_TAGS.has(bytes[0]);
}

function toPlain(value: LogValue): ValuePlain {
  switch (value.kind) {
    case 'noop':
      return { noop: {} };
    case 'baseline':
      return { baseline: { node: value.node, gtidSet: value.gtidSet, members: value.members.map(memberToPlain) } };
    case 'append':
      return { append: { epoch: value.epoch, follows: value.follows, items: value.items.map(itemToPlain) } };
    case 'elect':
      return { elect: value };
    case 'renew':
      return { renew: value };
    case 'fence':
      return { fence: value };
    case 'transfer':
      return { transfer: value };
    case 'replaceStore':
      return { replaceStore: value };
    case 'addMember':
      return { addMember: { member: memberToPlain(value.member), configVersion: value.configVersion } };
    case 'addLearner':
      return { addLearner: { member: memberToPlain(value.member), configVersion: value.configVersion } };
    case 'removeMember':
      return { removeMember: value };
    case 'replaceMember': {
      const { node, member, configVersion } = value;
      return { replaceMember: { node, member: memberToPlain(member), configVersion } };
    }
    case 'setElection': {
      const { node, election, configVersion } = value;
      return { setElection: { node, election: RULES.indexOf(election), configVersion } };
    }
    case 'finalizeUpgrade':
      return { finalizeUpgrade: value };
    default:
      return unreachable(value);
  }
}

function itemToPlain(item: AppendItem): ItemPlain {
  if (item.kind === 'file') return { file: item };
  const { xa, ...part } = item;
  return { part: xa === undefined ? part : { ...part, xa: XA_STEPS.indexOf(xa.kind) + 1, xid: xa.xid } };
}

function fromPlain(plain: ValuePlain, length: number): LogValue {
  if (plain.append) {
    const { epoch, follows, items } = plain.append;
    return { kind: 'append', epoch: epochOf(count(epoch)), follows: count(follows), items: items.map(itemFromPlain) };
  }
  if (plain.renew) {
    const { epoch, renewal, incarnation } = plain.renew;
    return { kind: 'renew', epoch: epochOf(count(epoch)), renewal: count(renewal), ...proposer(incarnation) };
  }
  if (plain.elect) {
    const { node, basedOnEpoch, executedUpTo, incarnation } = plain.elect;
    return {
      kind: 'elect',
      node: nodeId(node),
      basedOnEpoch: epochOf(count(basedOnEpoch)),
      executedUpTo: instanceId(count(executedUpTo)),
      ...proposer(incarnation),
    };
  }
  if (plain.fence) {
    const { epoch, basedOnRenewal, by, release } = plain.fence;
    return {
      kind: 'fence',
      epoch: epochOf(count(epoch)),
      basedOnRenewal: count(basedOnRenewal),
      by: nodeId(by),
      release,
    };
  }
  if (plain.transfer) {
    const { epoch, to, executedUpTo } = plain.transfer;
    return {
      kind: 'transfer',
      epoch: epochOf(count(epoch)),
      to: nodeId(to),
      executedUpTo: instanceId(count(executedUpTo)),
    };
  }
  if (plain.baseline) {
    const { node, gtidSet, members } = plain.baseline;
    return {
      kind: 'baseline',
      node: nodeId(node),
      gtidSet,
      members: members.map(memberFromPlain),
    };
  }
  if (plain.replaceStore) {
    const { node, oldStoreId, newStoreId, configVersion } = plain.replaceStore;
    return { kind: 'replaceStore', node: nodeId(node), oldStoreId, newStoreId, configVersion: count(configVersion) };
  }
  if (plain.noop) return { kind: 'noop' };
  if (plain.finalizeUpgrade) return { kind: 'finalizeUpgrade', mysqlSeries: plain.finalizeUpgrade.mysqlSeries };
  return membershipFromPlain(plain, length);
}

function membershipFromPlain(plain: ValuePlain, length: number): LogValue {
  for (const kind of ['addMember', 'addLearner'] as const) {
    const add = plain[kind];
    if (add) return { kind, member: memberFromPlain(add.member), configVersion: count(add.configVersion) };
  }
  if (plain.removeMember) {
    const { node, configVersion } = plain.removeMember;
    return { kind: 'removeMember', node: nodeId(node), configVersion: count(configVersion) };
  }
  if (plain.replaceMember) {
    const { node, member, configVersion } = plain.replaceMember;
    const seat = { node: nodeId(node), configVersion: count(configVersion) };
    return { kind: 'replaceMember', ...seat, member: memberFromPlain(member) };
  }
  if (plain.setElection) {
    const { node, election, configVersion } = plain.setElection;
    return {
      kind: 'setElection',
      node: nodeId(node),
      election: ruleFromPlain(election),
      configVersion: count(configVersion),
    };
  }
  throw new PhxError('STORE_CORRUPT', `decode log value: ${length} bytes hold no known value`);
}

function itemFromPlain(item: ItemPlain): AppendItem {
  if (item.part) {
    const { gtid, first, last, crc, events } = item.part;
    return { kind: 'part', gtid, first, last, crc, events: plainBytes(events), ...xaFromPlain(item.part) };
  }
  if (item.file) {
    const { name, formatDescription, tellsXa = false } = item.file;
    return { kind: 'file', name, formatDescription: plainBytes(formatDescription), ...(tellsXa ? { tellsXa } : {}) };
  }
  throw new PhxError('STORE_CORRUPT', 'decode log value: an append item is neither a file nor a part');
}

function xaFromPlain({ xa = 0, xid = '' }: PartPlain): { xa?: XaStep } {
  if (xa === 0) return {};
  const kind = XA_STEPS[xa - 1];
  if (kind === undefined || xid.length > XID_CHARS_MAX) {
    throw new PhxError(
      'STORE_CORRUPT',
      `decode log value: ${xa} with an xid of ${xid.length} characters is no XA step`,
    );
  }
  return { xa: { kind, xid } };
}

/** protobufjs hands out Buffers when it reads one and a shared empty array for absent fields. */
function plainBytes(bytes: Uint8Array): Uint8Array {
  return new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.length);
}

/** Old logs do not say it. */
function proposer(incarnation: number | undefined): { incarnation?: number } {
  return incarnation === undefined || incarnation === 0 ? {} : { incarnation };
}

/** Counters travel as doubles: garbage may be NaN, negative or a fraction. */
function count(n: number): number {
  if (Number.isSafeInteger(n) && n >= 0) return n;
  throw new PhxError('STORE_CORRUPT', `decode log value: ${n} is not a count`);
}
