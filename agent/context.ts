import type { Clock, Logger, Random } from '../base/ports.ts';
import type { LeaseTimes, NodeAddress, Security } from '../base/topology.ts';
import type { AgentRole, BinlogsvrClient } from '../proto/binlogsvr-types.ts';
import type { MysqldAdmin } from './mysqld-admin.ts';
import type { MysqldServer } from './mysqld-server.ts';
import type { MysqldWatch } from './mysqld-watch.ts';
import type { ReprovisionOptions } from './reprovision.ts';
import type { Timeline } from './timeline.ts';
import type { ViewKeeper } from './view-keeper.ts';

/** What the agent asks of the local binlogsvr. */
export type AgentStore = Pick<
  BinlogsvrClient,
  'baseline' | 'stand' | 'renew' | 'fence' | 'transfer' | 'barrier' | 'compareTail' | 'report' | 'subscribe'
>;

export type AgentOptions = Readonly<{
  self: NodeAddress;
  nodes: readonly NodeAddress[];
  /** The GTIDs a cluster founded by this node begins with: those of an adopted server. Default: none, a fresh server's. */
  foundingSet?: string;
  client: AgentStore;
  server: MysqldServer;
  security: Security;
  lease: LeaseTimes;
  clock: Clock;
  random: Random;
  log: Logger;
  /** A session that keeps this node's applier waiting for so long is killed. Absent or 0: none is. */
  killBlockersAfterMs?: number;
  /** Absent: a node whose data has to be replaced says so and waits. */
  reprovision?: ReprovisionOptions;
}>;

/** What the outside may do with this node's mysqld; goes into every report. */
export type Exposure = Readonly<{
  servingWrites: boolean;
  /** Epoch sync must be attached for, 0 = none. */
  attachEpoch: number;
  /** sync may be connected at all, with its spare connection too. */
  reachable: boolean;
}>;

/** What the parts of the agent share. Only agent.ts makes one. */
export type AgentContext = Readonly<{
  options: AgentOptions;
  server: MysqldServer;
  admin: MysqldAdmin;
  watch: MysqldWatch;
  views: ViewKeeper;
  timeline: Timeline;
  clock: Clock;
  log: Logger;
  role(): AgentRole;
  /** The node is being stopped: nothing may be started any more. */
  stopping(): boolean;
  become(role: AgentRole, reason: string): void;
  /** The reason shown in status. */
  say(reason: string): void;
  /** Takes effect with the report it starts; the promise is that report's end. */
  expose(exposure: Partial<Exposure>): Promise<void>;
}>;

/** A step cannot be done yet, for the reason in its message; the agent asks again in a moment. */
export class NotYet extends Error {
  override readonly name = 'NotYet';
}

/** mysqld cannot be trusted to do what was asked: only SIGKILL and recovery are left. */
export class Doubt extends Error {
  override readonly name = 'Doubt';
  constructor(reason: string, cause?: unknown) {
    super(reason, cause === undefined ? undefined : { cause });
  }
}

/**
 * What makes an unfit node fit again: its data taken anew from another node (only while another is known to have it: who has
 * the wrong secret knows of nobody); or a person.
 */
export type Cure = 'reprovision' | 'person';

/** This node cannot serve until somebody has acted. */
export class Unfit extends Error {
  override readonly name = 'Unfit';
  readonly cure: Cure;
  constructor(reason: string, cure: Cure = 'person') {
    super(reason);
    this.cure = cure;
  }
}
