import {
  type Ballot,
  type InstanceId,
  instanceId,
  NO_BALLOT,
  NO_INSTANCE,
  type NodeId,
  nodeId,
} from '../../../base/brands.ts';
import { Prng } from '../../../base/prng.ts';
import { ruleHolds } from '../../../base/rules.ts';
import { DEFAULT_BOUNDS, type PaxosBounds } from '../../../binlogsvr/paxos/bounds.ts';
import { mergeEffects, noEffects } from '../../../binlogsvr/paxos/effects.ts';
import { PaxosNode } from '../../../binlogsvr/paxos/node.ts';
import type { AcceptorRecord, Effects, Entry, Envelope, Input, Message } from '../../../binlogsvr/paxos/types.ts';

export type WorldOptions = Readonly<{
  seed: number;
  /** Voters at first. */
  nodes: number;
  /** Further nodes that may become voters; 0: the set of voters stays, though values say that it may change. */
  spare?: number;
  steps: number;
}>;

/** What may happen next, with its usual weight; each seed draws its own mixture around these. */
const WEIGHTS = {
  deliver: 10000,
  write: 2500,
  flush: 600,
  propose: 1500,
  tick: 1200,
  campaign: 80,
  voters: 100,
  giveUp: 10,
  save: 120,
  crash: 40,
  start: 300,
  cut: 20,
  join: 60,
} as const;
type Action = keyof typeof WEIGHTS;

/** Most messages overtake at most this many others. */
const REORDER = 8;
/** What is sent while so many are under way is lost. */
const NETWORK_MAX = 150;

const NOOP = text('noop');
/** Values that begin so make the proposer wait for the input `voters`. */
const CHANGE = 'change';

/** Small, so that windows fill, laggards fall out of them and learning comes in pieces. */
const TIGHT: PaxosBounds = {
  inFlightInstances: 4,
  inFlightBytes: 64,
  inFlightLease: 2,
  aheadInstances: 14,
  aheadBytes: 200,
  learnPendingBytes: 60,
  acceptBytes: 40,
};

type Write = Readonly<{ records: readonly AcceptorRecord[]; after: readonly Envelope[]; upTo: number }>;
/** A set of voters; `since` is the instance that made it. */
type Config = Readonly<{ version: number; voters: readonly NodeId[]; since: InstanceId }>;
type Flying = Readonly<{ from: NodeId; to: NodeId; message: Message }>;

/** One node: the core, a disk that survives crashes, and what a replica does between the two. */
class Host {
  readonly id: NodeId;
  core: PaxosNode | null = null;
  readonly disk = { promised: NO_BALLOT as Ballot, accepted: new Map<InstanceId, Entry>() };
  /** The unsynced applied index a restart begins with; at most what was emitted. */
  saved: InstanceId = NO_INSTANCE;
  emitted: InstanceId = NO_INSTANCE;
  outbox: Effects = noEffects();
  writes: Write[] = [];
  flushed = 0;
  /** Who votes, as far as this node has been told. */
  config: Config;
  /** What the input `voters` has still to say. */
  votersDue: Config[] = [];
  now = 0;

  constructor(id: NodeId, config: Config) {
    this.id = id;
    this.config = config;
  }

  /** Who votes by what was emitted. */
  get newest(): Config {
    return this.votersDue.at(-1) ?? this.config;
  }
}

/**
 * A seeded world of 3 or 5 nodes: messages are lost, doubled and reordered, links are cut, writes complete late, nodes
 * crash and forget what was not written. Its checker keeps its own history and shares nothing with the core.
 */
export class PaxosWorld {
  readonly #rng: Prng;
  readonly #options: WorldOptions;
  readonly #spare: number;
  readonly #bounds: PaxosBounds;
  readonly #hosts: Host[];
  #network: Flying[] = [];
  /** Pairs `from > to` that cannot talk. */
  readonly #cut = new Set<string>();
  readonly #lossPercent: number;
  readonly #weights: readonly (readonly [Action, number])[];
  readonly #weightSum: number;
  #proposals = 0;
  readonly #proposed = new Set<string>(['noop']);
  /** The checker's history: what was ever emitted for an instance, by anyone in any life. */
  readonly #chosen = new Map<InstanceId, string>();
  /** The newest change of voters before which everything was seen on a majority of the new ones. */
  #checkedSince: InstanceId = NO_INSTANCE;
  /** Every set of voters there has been, by the values emitted. */
  readonly #configs: Config[] = [];
  #calm = false;

  constructor(options: WorldOptions) {
    this.#options = options;
    this.#spare = options.spare ?? 0;
    this.#rng = new Prng(options.seed);
    this.#bounds = this.#rng.chance(2, 3) ? TIGHT : DEFAULT_BOUNDS;
    this.#lossPercent = this.#rng.pick([0, 5, 20]);
    const scale = (weight: number): number => Math.ceil((weight * this.#rng.pick([3, 6, 10, 20])) / 10);
    this.#weights = (Object.keys(WEIGHTS) as Action[]).map((action) => [action, scale(WEIGHTS[action])] as const);
    this.#weightSum = this.#weights.reduce((sum, [, weight]) => sum + weight, 0);
    const voters = Array.from({ length: options.nodes }, (_, i) => nodeId(i + 1));
    this.#configs.push({ version: 0, voters, since: NO_INSTANCE });
    const all = Array.from({ length: options.nodes + this.#spare }, (_, i) => nodeId(i + 1));
    this.#hosts = all.map((id) => new Host(id, this.#configs[0] as Config));
    for (const host of this.#hosts) this.#start(host);
  }

  /** Instances that were emitted before the world was healed. */
  emittedUnderFaults = 0;
  /** Changes of the set of voters. */
  get changes(): number {
    return this.#configs.length - 1;
  }

  /** Safety under faults, then liveness on a healed core; throws on the first contradiction. */
  run(): void {
    try {
      for (let i = 0; i < this.#options.steps; i += 1) this.#chaos();
      this.emittedUnderFaults = this.#chosen.size;
      this.#heal();
      this.#mustProgress();
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      throw new Error(`seed ${this.#options.seed}, ${this.#options.nodes} nodes: ${reason}`, { cause: error });
    }
  }

  #chaos(): void {
    const host = this.#rng.pick(this.#hosts);
    let dice = this.#rng.below(this.#weightSum);
    for (const [action, weight] of this.#weights) {
      dice -= weight;
      if (dice >= 0) continue;
      this.#act(action, host);
      return;
    }
  }

  #act(action: Action, host: Host): void {
    const actions: Readonly<Record<Action, () => void>> = {
      deliver: () => this.#deliverOne(),
      write: () => this.#write(host),
      flush: () => this.#flush(host),
      propose: () => void this.#propose(this.#hosts.find((each) => each.core?.leading) ?? host),
      tick: () => this.#tick(host, this.#rng.below(120)),
      campaign: () => void this.#step(host, { kind: 'campaign' }),
      voters: () => this.#giveVoters(host),
      giveUp: () => void this.#step(host, { kind: 'giveUp' }),
      save: () => this.#save(host),
      crash: () => this.#crash(host),
      start: () => this.#start(host),
      cut: () => this.#partition(),
      join: () => this.#cut.clear(),
    };
    actions[action]();
  }

  #deliverOne(): void {
    if (this.#network.length === 0) return;
    const reach = this.#rng.chance(1, 10) ? this.#network.length : Math.min(this.#network.length, REORDER);
    const flying = this.#network.splice(this.#rng.below(reach), 1)[0] as Flying;
    if (!this.#calm && this.#rng.chance(this.#lossPercent, 100)) return;
    if (!this.#calm && this.#rng.chance(5, 100)) this.#network.push(flying);
    if (this.#cut.has(`${flying.from}>${flying.to}`)) return;
    const { from, message } = flying;
    const leaseRuns = !this.#calm && this.#rng.chance(3, 100);
    const host = this.#host(flying.to);
    this.#step(host, { kind: 'message', from, message, voter: host.config.voters.includes(from), leaseRuns });
  }

  #propose(host: Host): string | null {
    if (!host.core?.leading) return null;
    this.#proposals += 1;
    const kind = this.#rng.chance(1, this.#spare > 0 ? 5 : 20) ? CHANGE : 'value';
    const change = kind === CHANGE && this.#spare > 0 ? this.#drawChange(host.newest) : '';
    const value = `${kind} ${this.#proposals} ${change}${'x'.repeat(this.#rng.below(20))}`;
    this.#proposed.add(value);
    const lane = this.#rng.chance(1, 5) ? 'lease' : 'data';
    const effects = this.#step(host, { kind: 'propose', value: text(value), lane });
    return effects?.proposed == null ? null : value;
  }

  /** One voter more, less or another; at times one that comes too late, as it is of an earlier configuration. */
  #drawChange({ version, voters }: Config): string {
    const others = this.#hosts.map(({ id }) => id).filter((id) => !voters.includes(id));
    const leaver = this.#rng.pick(voters);
    const stay = voters.filter((id) => id !== leaver);
    const kinds: NodeId[][] = [];
    if (others.length > 0) kinds.push([...voters, this.#rng.pick(others)], [...stay, this.#rng.pick(others)]);
    if (stay.length > 0) kinds.push(stay);
    const late = this.#rng.chance(1, 10) ? 1 : 0;
    return `@${Math.max(0, version - late)}=${this.#rng.pick(kinds).join(',')}; `;
  }

  /** What the state machine does with a change. */
  #changed(host: Host, instance: InstanceId, name: string): void {
    const match = /@(\d+)=([\d,]+);/.exec(name);
    let config = host.newest;
    if (match !== null && Number(match[1]) === config.version) {
      const voters = (match[2] as string).split(',').map((id) => nodeId(Number(id)));
      config = { version: config.version + 1, voters, since: instance };
      if (config.version === this.#configs.length) this.#configs.push(config);
      check(this.#configs[config.version]?.since === instance, `configuration ${config.version} is not of ${instance}`);
    }
    host.votersDue.push(config);
  }

  #tick(host: Host, ms: number): void {
    host.now += ms;
    this.#step(host, { kind: 'tick', now: host.now });
  }

  #step(host: Host, input: Input): Effects | null {
    if (host.core === null) return null;
    const effects = host.core.step(input);
    for (const { instance, value } of effects.chosen) this.#emit(host, instance, value);
    for (const { to, from } of effects.serveLearn) this.#serve(host, to, from);
    check(host.core.inFlight <= this.#bounds.inFlightInstances + this.#bounds.inFlightLease, 'too much in flight');
    mergeEffects(host.outbox, { ...effects, chosen: [], serveLearn: [] });
    if (this.#rng.chance(2, 3)) this.#flush(host);
    return effects;
  }

  /** The checker. */
  #emit(host: Host, instance: InstanceId, value: Uint8Array): void {
    check(instance === host.emitted + 1, `node ${host.id} emits ${instance} after ${host.emitted}`);
    host.emitted = instance;
    const name = Buffer.from(value).toString();
    check(this.#proposed.has(name), `nobody proposed '${name}', emitted at ${instance}`);
    const known = this.#chosen.get(instance);
    check(known === undefined || known === name, `instance ${instance}: '${known}' and, on ${host.id}, '${name}'`);
    if (known === undefined) this.#checkDurable(instance, name);
    this.#chosen.set(instance, name);
    const onDisk = host.disk.accepted.get(instance)?.value;
    check(
      onDisk !== undefined && Buffer.compare(onDisk, value) === 0,
      `node ${host.id} emits ${instance}, not on disk`,
    );
    if (name.startsWith(CHANGE)) this.#changed(host, instance, name);
  }

  /**
   * When the first node learns that a value is chosen, a majority of those whose vote it was has it on disk, and a majority
   * of the same has everything up to the value that made them voters: no loss of a minority of them can take anything.
   */
  #checkDurable(instance: InstanceId, name: string): void {
    const { voters, since } = this.#configs.findLast((each) => each.since < instance) as Config;
    const holders = (at: InstanceId, wanted: string | undefined): number =>
      voters.filter((id) => textOf(this.#host(id).disk.accepted.get(at)?.value) === wanted).length;
    const half = voters.length / 2;
    check(holders(instance, name) > half, `instance ${instance} ('${name}') is not on a majority of ${voters}`);
    if (this.#checkedSince >= since) return;
    this.#checkedSince = since;
    for (let i = instanceId(1); i <= since; i = instanceId(i + 1)) {
      const value = this.#chosen.get(i);
      check(
        holders(i, value) > half,
        `instance ${i}, before ${voters} became voters at ${since}, is not on most of them`,
      );
    }
  }

  #serve(host: Host, to: NodeId, from: InstanceId): void {
    const entries: Entry[] = [];
    const chosenUpTo = (host.core as PaxosNode).chosenUpTo;
    const length = 1 + this.#rng.below(6);
    for (let i = from; i <= chosenUpTo && entries.length < length; i = instanceId(i + 1)) {
      const entry = host.disk.accepted.get(i);
      check(entry !== undefined, `node ${host.id} cannot serve ${i}`);
      entries.push(entry as Entry);
    }
    this.#network.push({ from: host.id, to, message: { kind: 'learned', entries, chosenUpTo } });
  }

  /** What a replica does with merged effects: send, hand to the disk. */
  #flush(host: Host): void {
    const { sendNow, persist, sendAfterPersist } = host.outbox;
    host.outbox = noEffects();
    this.#send(host, sendNow);
    host.flushed += persist.length;
    if (!ruleHolds('ack-after-fsync')) this.#send(host, sendAfterPersist);
    else if (persist.length > 0 || sendAfterPersist.length > 0) {
      host.writes.push({ records: persist, after: sendAfterPersist, upTo: host.flushed });
      return;
    }
    if (persist.length > 0) host.writes.push({ records: persist, after: [], upTo: host.flushed });
  }

  /** One write completes. */
  #write(host: Host): void {
    const write = host.writes.shift();
    if (write === undefined) return;
    for (const record of write.records) putRecord(host, record);
    this.#send(host, write.after);
    if (write.records.length > 0) this.#step(host, { kind: 'persisted', upTo: write.upTo });
  }

  #send(host: Host, envelopes: readonly Envelope[]): void {
    for (const { to, message } of envelopes) {
      check(to !== host.id, `node ${host.id} sends to itself`);
      if (this.#calm || this.#network.length < NETWORK_MAX) this.#network.push({ from: host.id, to, message });
    }
  }

  #giveVoters(host: Host): void {
    const config = host.votersDue.shift();
    if (config === undefined) return;
    host.config = config;
    const { voters } = config;
    this.#step(host, { kind: 'voters', voters, mayVote: voters.includes(host.id) });
  }

  #save(host: Host): void {
    if (host.emitted > host.saved) host.saved = instanceId(host.saved + 1 + this.#rng.below(host.emitted - host.saved));
  }

  /** Everything not written is gone; of the write under way a prefix may have arrived. */
  #crash(host: Host): void {
    if (host.core === null) return;
    const writing = host.writes[0]?.records ?? [];
    for (const record of writing.slice(0, this.#rng.below(writing.length + 1))) putRecord(host, record);
    host.core = null;
    host.outbox = noEffects();
    host.writes = [];
    host.flushed = 0;
    host.votersDue = [];
  }

  #start(host: Host): void {
    if (host.core !== null) return;
    host.emitted = host.saved;
    host.config = this.#configs.findLast((config) => config.since <= host.saved) as Config;
    const { voters, since } = host.config;
    host.core = new PaxosNode({
      node: host.id,
      voters,
      votersSince: since,
      mayVote: voters.includes(host.id),
      promised: host.disk.promised,
      chosenUpTo: host.saved,
      tail: [...host.disk.accepted.values()].filter((entry) => entry.instance > host.saved),
      noop: NOOP,
      changesVoters: (value) => Buffer.from(value).toString().startsWith(CHANGE),
      random: this.#rng,
      bounds: this.#bounds,
    });
    for (const other of this.#hosts) {
      if (other !== host) this.#step(other, { kind: 'peerUp', peer: host.id });
      if (other !== host) this.#step(host, { kind: 'peerUp', peer: other.id });
    }
  }

  #partition(): void {
    this.#cut.clear();
    for (const a of this.#hosts) {
      for (const b of this.#hosts) if (a !== b && this.#rng.chance(2, 5)) this.#cut.add(`${a.id}>${b.id}`);
    }
  }

  #heal(): void {
    this.#calm = true;
    this.#cut.clear();
    for (const host of this.#hosts) this.#start(host);
  }

  /** From here on nothing fails: new values must be chosen and all nodes emit the same. */
  #mustProgress(): void {
    const wanted: string[] = [];
    for (let round = 0; round < 3000; round += 1) {
      for (let i = this.#network.length; i > 0; i -= 1) this.#deliverOne();
      for (const host of this.#hosts) {
        this.#giveVoters(host);
        this.#flush(host);
        for (let i = host.writes.length; i > 0; i -= 1) this.#write(host);
        this.#tick(host, 50);
      }
      const leader = this.#hosts.find((host) => host.core?.leading);
      if (leader === undefined) {
        // Only one at a time, for longer than a campaign takes: dueling proposers are the replica's jitter to avoid.
        const candidate = this.#candidate(Math.floor(round / 60));
        if (round % 10 === 0 && candidate !== undefined) this.#step(candidate, { kind: 'campaign' });
      } else if (wanted.length < 12) {
        const value = this.#propose(leader);
        if (value !== null) wanted.push(value);
      }
      if (wanted.length === 12 && this.#settled(wanted)) return;
    }
    const states = this.#hosts.map(
      (host) => `${host.id}: ${host.core?.proposerState} ${host.emitted}/${host.core?.highestAccepted}`,
    );
    throw new Error(`no progress after healing: ${wanted.length} proposed, ${states.join(', ')}`);
  }

  /** Whoever takes itself for a voter: who knows the newest voters may be down to one that was one before. */
  #candidate(turn: number): Host | undefined {
    const able = this.#hosts.filter((host) => host.core?.mayVote);
    return able[turn % able.length];
  }

  /** A proposal of a leader deposed in its last moments may lose its place to a no-op; all others must be there. */
  #settled(wanted: readonly string[]): boolean {
    const top = Math.max(...this.#hosts.map((host) => host.emitted));
    if (this.#hosts.some((host) => host.emitted !== top || (host.core?.inFlight ?? 0) > 0)) return false;
    const emitted = new Set(this.#chosen.values());
    const missing = wanted.filter((value) => !emitted.has(value));
    check(missing.length <= 6, `proposals lost after healing: ${missing.join(', ')}`);
    return true;
  }

  #host(id: NodeId): Host {
    return this.#hosts[id - 1] as Host;
  }
}

function putRecord(host: Host, record: AcceptorRecord): void {
  if (record.kind === 'accepted') host.disk.accepted.set(record.entry.instance, record.entry);
  else if (record.ballot > host.disk.promised) host.disk.promised = record.ballot;
}

function check(holds: boolean, message: string): void {
  if (!holds) throw new Error(message);
}

function textOf(value: Uint8Array | undefined): string | undefined {
  return value === undefined ? undefined : Buffer.from(value).toString();
}

function text(value: string): Uint8Array {
  return Buffer.from(value);
}
