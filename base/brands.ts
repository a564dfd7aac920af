/** A type for each number people confuse. Brands are applied where a value enters (decoders, config), trusted inside. */
declare const tag: unique symbol;
export type Brand<T, Name extends string> = T & { readonly [tag]: Name };

/** Node number of the configuration, 1..255. */
export type NodeId = Brand<number, 'NodeId'>;
/** Slot in the replicated log, from 1. 0 means "before the first". */
export type InstanceId = Brand<number, 'InstanceId'>;
/** Paxos ballot: round * 256 + node id, so that numbers order ballots and two nodes never share one. 0 = none. */
export type Ballot = Brand<number, 'Ballot'>;
/** Election number, from 1, the fencing token of appends and renewals. 0 = no election yet. */
export type Epoch = Brand<number, 'Epoch'>;
/** Milliseconds of CLOCK_MONOTONIC (one clock for all processes of a host). Never compared across hosts. */
export type MonoMs = Brand<number, 'MonoMs'>;

export const nodeId = (n: number): NodeId => n as NodeId;
export const instanceId = (n: number): InstanceId => n as InstanceId;
export const epochOf = (n: number): Epoch => n as Epoch;
export const monoMs = (n: number): MonoMs => n as MonoMs;

export const NODE_ID_MAX = 255;
export const makeBallot = (round: number, node: NodeId): Ballot => (round * 256 + node) as Ballot;
export const ballotRound = (ballot: Ballot): number => Math.floor(ballot / 256);
export const ballotNode = (ballot: Ballot): NodeId => (ballot % 256) as NodeId;
export const NO_BALLOT = 0 as Ballot;
export const NO_INSTANCE = 0 as InstanceId;
export const NO_EPOCH = 0 as Epoch;
