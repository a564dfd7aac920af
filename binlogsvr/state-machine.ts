import { crc32 } from 'node:zlib';
import { z } from 'zod';
import { type Epoch, epochOf, type InstanceId, instanceId, NO_EPOCH, NO_INSTANCE, nodeId } from '../base/brands.ts';
import { PhxError } from '../base/errors.ts';
import { invariant, unreachable } from '../base/invariant.ts';
import { ruleHolds } from '../base/rules.ts';
import { GtidSet } from '../mysql/gtid-set.ts';
import { afterTransaction } from './disabled-events.ts';
import { electionOf, judgeMembership, kindOf } from './membership.ts';
import { compareSeries, seriesOf } from './mysql-series.ts';
import {
  type Accepted,
  type Applied,
  type Refusal,
  type ReplicatedState,
  refuse,
  type Verdict,
} from './state-types.ts';
import { afterXaStep, inXaFile, NO_XA, UnresolvedXaJson, xaFromSaved, xaToSave } from './unresolved-xa.ts';
import type { AppendItem, AppendValue, LogValue, Member } from './values.ts';

/**
 * The apply rule: what each value of the log means, decided by every replica alike. It, not a clock, fences: an append
 * of another epoch, or one that is not the successor, is refused whenever it is chosen. Every value is conditional, so
 * that a duplicate (a retry, a re-proposal by a new leader) changes nothing but `appliedIndex` (protocol-findings 8).
 *
 *               elect (executed everything, no epoch open)
 *   closed ──────────────────────────────────────────────► open ──┐ append, renew
 *     ▲                                                    │ ▲ └──┘
 *     └───────────────────── fence, release ───────────────┘ └─── transfer: the next epoch, another master
 */

type Transaction = Applied['transactions'][number];

const UNCHANGED: Accepted = { change: {} };

export function initialState(): ReplicatedState {
  return {
    appliedIndex: NO_INSTANCE,
    epoch: NO_EPOCH,
    master: 0,
    open: false,
    renewal: 0,
    leaseIncarnation: 0,
    appendSeq: 0,
    lastTransactionIndex: NO_INSTANCE,
    gtidSet: GtidSet.EMPTY,
    file: null,
    chunk: null,
    baseline: null,
    members: [],
    configVersion: 0,
    membersSince: NO_INSTANCE,
    removed: [],
    mysqlSeries: '',
    disabledEvents: [],
    xa: NO_XA,
  };
}

/** Pure: `state` is not changed. Throws InvariantError unless `instance` is the one after `appliedIndex`. */
export function apply(
  state: ReplicatedState,
  instance: InstanceId,
  value: LogValue,
): { state: ReplicatedState; applied: Applied } {
  invariant(instance === state.appliedIndex + 1, `apply: instance ${instance} after ${state.appliedIndex}`);
  const verdict = judge(state, instance, value);
  if ('code' in verdict) {
    const { code, reason } = verdict;
    return {
      state: { ...state, appliedIndex: instance },
      applied: { instance, value, accepted: false, code, reason, transactions: [] },
    };
  }
  return {
    state: { ...state, ...verdict.change, appliedIndex: instance },
    applied: { instance, value, accepted: true, code: null, reason: '', transactions: verdict.transactions ?? [] },
  };
}

function judge(state: ReplicatedState, instance: InstanceId, value: LogValue): Verdict {
  switch (value.kind) {
    case 'noop':
      return UNCHANGED;
    case 'baseline':
      return judgeBaseline(state, value);
    case 'append':
      return judgeAppend(state, instance, value);
    case 'elect':
      return judgeElect(state, value);
    case 'renew':
      return judgeRenew(state, value);
    case 'fence':
      return judgeFence(state, value);
    case 'transfer':
      return judgeTransfer(state, value);
    case 'replaceStore':
    case 'addMember':
    case 'addLearner':
    case 'removeMember':
    case 'replaceMember':
    case 'setElection':
      return judgeMembership(state, instance, value);
    case 'finalizeUpgrade':
      return judgeFinalize(state, value.mysqlSeries);
    default:
      return unreachable(value);
  }
}

function judgeBaseline(state: ReplicatedState, value: Extract<LogValue, { kind: 'baseline' }>): Verdict {
  if (state.baseline !== null) {
    return refuse('NOT_SUCCESSOR', `the log already has a baseline, by node ${state.baseline.node}`);
  }
  const gtidSet = gtidsOf(() => GtidSet.parse(value.gtidSet));
  if ('code' in gtidSet) return gtidSet;
  const baseline = { node: value.node, gtidSet: value.gtidSet };
  return { change: { baseline, gtidSet, members: value.members, configVersion: 1 } };
}

function judgeAppend(state: ReplicatedState, instance: InstanceId, value: AppendValue): Verdict {
  const wrong = requireEpoch(state, value.epoch);
  if (wrong !== null && ruleHolds('append-needs-epoch')) return wrong;
  if (value.follows !== state.appendSeq) {
    return refuse('NOT_SUCCESSOR', `the append follows append ${value.follows}, the log is at ${state.appendSeq}`);
  }
  const draft = new AppendDraft(state, instance, value.epoch);
  for (const item of value.items) {
    const refusal = draft.add(item);
    if (refusal !== null) return refusal;
  }
  return draft.accept();
}

/** The state an append leads to, item by item; dropped as a whole if one of them is refused. */
class AppendDraft {
  readonly #instance: InstanceId;
  readonly #epoch: Epoch;
  readonly #appendSeq: number;
  readonly #transactions: Transaction[] = [];
  #gtidSet: GtidSet;
  #file: ReplicatedState['file'];
  #chunk: ReplicatedState['chunk'];
  #lastTransactionIndex: InstanceId;
  #xa: ReplicatedState['xa'];
  #disabledEvents: ReplicatedState['disabledEvents'];

  constructor(state: ReplicatedState, instance: InstanceId, epoch: Epoch) {
    this.#instance = instance;
    this.#epoch = epoch;
    this.#appendSeq = state.appendSeq + 1;
    this.#gtidSet = state.gtidSet;
    this.#file = state.file;
    this.#chunk = state.chunk;
    this.#lastTransactionIndex = state.lastTransactionIndex;
    this.#xa = state.xa;
    this.#disabledEvents = state.disabledEvents;
  }

  add(item: AppendItem): Refusal | null {
    if (item.kind === 'part') return this.#addPart(item);
    // No transaction spans files: what is unfinished was interrupted and will come again from its first chunk.
    this.#chunk = null;
    this.#file = { epoch: this.#epoch, name: item.name, instance: this.#instance };
    this.#xa = inXaFile(this.#xa, item.tellsXa === true);
    return null;
  }

  accept(): Accepted {
    return {
      change: {
        appendSeq: this.#appendSeq,
        gtidSet: this.#gtidSet,
        file: this.#file,
        chunk: this.#chunk,
        lastTransactionIndex: this.#lastTransactionIndex,
        xa: this.#xa,
        disabledEvents: this.#disabledEvents,
      },
      transactions: this.#transactions,
    };
  }

  #addPart(part: Extract<AppendItem, { kind: 'part' }>): Refusal | null {
    const { gtid } = part;
    const contained = gtidsOf(() => this.#gtidSet.contains(gtid));
    if (typeof contained !== 'boolean') return contained;
    if (contained) return refuse('NOT_SUCCESSOR', `the log already holds transaction ${gtid}`);
    // A first chunk while a transaction is unfinished begins anew: the reader of the master's binlog was restarted and
    // asked for everything after the completed transactions. Refusing it would leave this epoch stuck.
    if (!part.first && this.#chunk?.gtid !== gtid) {
      const open = this.#chunk === null ? 'none is unfinished' : `${this.#chunk.gtid} is unfinished`;
      return refuse('NOT_SUCCESSOR', `a later chunk of transaction ${gtid}, but ${open}`);
    }
    const before = part.first ? { gtid, firstInstance: this.#instance, crc: 0 } : this.#chunk;
    invariant(before !== null, 'apply: a later chunk continues nothing');
    const crc = crc32(part.events, before.crc);
    if (!part.last) {
      this.#chunk = { ...before, crc };
      if (!ruleHolds('chunks-do-not-count')) this.#lastTransactionIndex = this.#instance;
      return null;
    }
    if (crc !== part.crc) {
      return refuse('NOT_SUCCESSOR', `transaction ${gtid} has checksum ${crc}, its last chunk says ${part.crc}`);
    }
    const gtidSet = gtidsOf(() => this.#gtidSet.add(gtid));
    if ('code' in gtidSet) return gtidSet;
    this.#gtidSet = gtidSet;
    this.#chunk = null;
    this.#lastTransactionIndex = this.#instance;
    this.#xa = afterXaStep(this.#xa, part.xa, gtid, before.firstInstance);
    // One that came in chunks is no definition of an event.
    if (part.first) this.#disabledEvents = afterTransaction(this.#disabledEvents, part.events);
    this.#transactions.push({ gtid, crc });
    return null;
  }
}

function judgeElect(state: ReplicatedState, value: Extract<LogValue, { kind: 'elect' }>): Verdict {
  if (state.baseline === null) return refuse('NOT_SUCCESSOR', 'the log has no baseline yet');
  const current = value.basedOnEpoch === state.epoch;
  if ((!current || state.open) && ruleHolds('elect-needs-closed-epoch')) {
    return current
      ? refuse('WRONG_EPOCH', `epoch ${state.epoch} is still open`)
      : wrongEpoch(state, value.basedOnEpoch);
  }
  return judgeSuccessor(state, value.node, value.executedUpTo, value.incarnation ?? 0);
}

function judgeTransfer(state: ReplicatedState, value: Extract<LogValue, { kind: 'transfer' }>): Verdict {
  return requireEpoch(state, value.epoch) ?? judgeSuccessor(state, value.to, value.executedUpTo, 0);
}

/** Whoever becomes master has executed every completed transaction; unfinished chunks do not count. */
function judgeSuccessor(
  state: ReplicatedState,
  node: number,
  executedUpTo: InstanceId,
  leaseIncarnation: number,
): Verdict {
  const member = state.members.find((each) => each.node === node);
  if (member === undefined) return refuse('PEER_REFUSED', `node ${node} is not a member`);
  const kind = kindOf(member);
  if (kind !== 'voter') return refuse('MEMBER_REFUSED', `node ${node} is a ${kind}: it is never elected`);
  if (electionOf(member) === 'never') return refuse('MEMBER_REFUSED', `node ${node} is never elected, by its rule`);
  if (executedUpTo < state.lastTransactionIndex && ruleHolds('successor-executed-all')) {
    const last = state.lastTransactionIndex;
    return refuse(
      'NOT_EXECUTED',
      `node ${node} has executed up to ${executedUpTo}, the last transaction is at ${last}`,
    );
  }
  const epoch = epochOf(state.epoch + 1);
  return { change: { epoch, master: member.node, open: true, renewal: 0, leaseIncarnation, chunk: null } };
}

function judgeRenew(state: ReplicatedState, value: Extract<LogValue, { kind: 'renew' }>): Verdict {
  const wrong = requireEpoch(state, value.epoch);
  if (wrong !== null) return wrong;
  if (value.renewal !== state.renewal + 1) {
    return refuse('NOT_SUCCESSOR', `renewal ${value.renewal} of epoch ${state.epoch} after renewal ${state.renewal}`);
  }
  return { change: { renewal: value.renewal, leaseIncarnation: value.incarnation ?? 0 } };
}

function judgeFence(state: ReplicatedState, value: Extract<LogValue, { kind: 'fence' }>): Verdict {
  const wrong = requireEpoch(state, value.epoch);
  if (wrong !== null && ruleHolds('fence-names-epoch')) return wrong;
  if (value.release && value.by !== state.master) {
    return refuse('WRONG_EPOCH', `node ${value.by} cannot release the epoch of node ${state.master}`);
  }
  if (!value.release && value.basedOnRenewal !== state.renewal) {
    return refuse(
      'LEASE_RUNS',
      `epoch ${state.epoch} was renewed: renewal ${state.renewal}, not ${value.basedOnRenewal}`,
    );
  }
  return { change: { open: false, chunk: null } };
}

function judgeFinalize(state: ReplicatedState, mysqlSeries: string): Verdict {
  if (seriesOf(mysqlSeries) !== mysqlSeries || mysqlSeries === '')
    return refuse('NOT_SUCCESSOR', `${mysqlSeries} is no MySQL series`);
  if (state.mysqlSeries !== '' && compareSeries(mysqlSeries, state.mysqlSeries) <= 0)
    return refuse('NOT_SUCCESSOR', `the upgrade was finalized with MySQL ${state.mysqlSeries} already`);
  return { change: { mysqlSeries } };
}

function requireEpoch(state: ReplicatedState, epoch: Epoch): Refusal | null {
  if (epoch !== state.epoch) return wrongEpoch(state, epoch);
  if (state.open || !ruleHolds('closed-epoch-takes-nothing')) return null;
  return refuse('WRONG_EPOCH', `epoch ${epoch} is closed`);
}

function wrongEpoch(state: ReplicatedState, epoch: Epoch): Refusal {
  return refuse('WRONG_EPOCH', `epoch ${epoch} is not the current one, ${state.epoch}`);
}

/** A malformed GTID in the log is refused by all alike; it must not stop any of them. */
function gtidsOf<T>(work: () => T): T | Refusal {
  try {
    return work();
  } catch (error) {
    if (error instanceof PhxError) return refuse(error.code, error.message);
    throw error;
  }
}

const count = z.number().int().nonnegative();

const StateJson = z.object({
  appliedIndex: count.transform(instanceId),
  epoch: count.transform(epochOf),
  master: count,
  open: z.boolean(),
  renewal: count,
  leaseIncarnation: count.default(0),
  appendSeq: count,
  lastTransactionIndex: count.transform(instanceId),
  gtidSet: z.string(),
  file: z
    .object({ epoch: count.transform(epochOf), name: z.string(), instance: count.transform(instanceId) })
    .nullable(),
  chunk: z.object({ gtid: z.string(), firstInstance: count.transform(instanceId), crc: count }).nullable(),
  baseline: z.object({ node: count.transform(nodeId), gtidSet: z.string() }).nullable(),
  members: z.array(
    z
      .object({
        node: count.transform(nodeId),
        storeId: z.string(),
        kind: z.enum(['learner', 'witness']).optional(),
        election: z.enum(['prefer', 'never']).optional(),
        address: z
          .object({
            host: z.string(),
            rpc: count,
            ports: z.object({ rw: count, ro: count, dump: count, mysql: count, http: count }).optional(),
          })
          .optional(),
      })
      .transform((member) => member as Member),
  ),
  configVersion: count,
  // States from before there were changes of members lack these, and those without one are written as they were.
  membersSince: count.default(0).transform(instanceId),
  removed: z.array(z.object({ node: count.transform(nodeId), storeId: z.string() })).default([]),
  mysqlSeries: z.string().default(''),
  disabledEvents: z.array(z.string()).default([]),
  xa: UnresolvedXaJson.optional(),
});

export function stateToJson(state: ReplicatedState): string {
  const removed = state.removed.length === 0 ? undefined : state.removed;
  const membersSince = state.membersSince === NO_INSTANCE ? undefined : state.membersSince;
  const mysqlSeries = state.mysqlSeries === '' ? undefined : state.mysqlSeries;
  const xa = xaToSave(state.xa, state.lastTransactionIndex);
  const disabledEvents = state.disabledEvents.length === 0 ? undefined : state.disabledEvents;
  const gtidSet = state.gtidSet.toString();
  return JSON.stringify({ ...state, gtidSet, membersSince, removed, mysqlSeries, xa, disabledEvents });
}

/** Throws STORE_CORRUPT on anything stateToJson cannot have written. */
export function stateFromJson(json: string): ReplicatedState {
  try {
    const saved = StateJson.parse(JSON.parse(json));
    // The spread keeps the keys in order, so that equal states are saved as equal bytes wherever they come from.
    const xa = xaFromSaved(saved.xa, saved.lastTransactionIndex);
    const master = saved.master === 0 ? 0 : nodeId(saved.master);
    return { ...saved, master, gtidSet: GtidSet.parse(saved.gtidSet), xa };
  } catch (error) {
    throw new PhxError('STORE_CORRUPT', `read saved state: not a state (${json.slice(0, 80)})`, { cause: error });
  }
}
