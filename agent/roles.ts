import { invariant } from '../base/invariant.ts';
import type { AgentRole } from '../proto/binlogsvr-types.ts';

/**
 * Every legal role change of the local mysqld; any other is a bug, not an event.
 *
 *                 adopted, still open                    won an epoch          open for writes
 *          ┌───────────────────────────────────────────────────────────────────────┐
 *          │                                                                       ▼
 *      stopped ───► recovering ───► replica ────────► promoting ────────────► master
 *       ▲  ▲          ▲  ▲ │           ▲ │               │ │                    │ │
 *       │  │          │  │ │ kill, cut │ │               │ │ lost, or not equal │ │ mysqld gone
 *       │  │          │  └─┼───────────┼─┴───────────────┴─┼────────────────────┼─┘ or doubtful
 *       │  │          │    │           │                   │                    ▼
 *       │  │          │    │           └───────────────────┼──────────────── demoting ──► master
 *       │  │          │    │                 soft: nothing │ was waiting        │    a hand-over undone
 *       │  │          └────┼───────────────────────────────┼────────────────────┘ killed
 *       │  │               ▼                               ▼
 *       │  └──────────── failed ◄──────────────────── (any role)        diverged, encrypted binlog
 *       └── (any role)   agent asked to stop
 */
const NEXT = {
  stopped: ['recovering', 'master', 'failed'],
  recovering: ['replica', 'stopped', 'failed'],
  replica: ['promoting', 'recovering', 'stopped', 'failed'],
  promoting: ['master', 'recovering', 'stopped', 'failed'],
  master: ['demoting', 'recovering', 'stopped', 'failed'],
  demoting: ['replica', 'master', 'recovering', 'stopped', 'failed'],
  failed: ['recovering', 'stopped'],
} as const satisfies Record<AgentRole, readonly AgentRole[]>;

/** `to`, having checked that the table above allows it. Staying in a role is always allowed. */
export function move(from: AgentRole, to: AgentRole): AgentRole {
  invariant(from === to || mayMove(from, to), `role ${from} -> ${to} is not in the table`);
  return to;
}

export function mayMove(from: AgentRole, to: AgentRole): boolean {
  return (NEXT[from] as readonly AgentRole[]).includes(to);
}
