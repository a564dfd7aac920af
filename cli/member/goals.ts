import { PhxError } from '../../base/errors.ts';
import type { ElectionRule, MemberKind } from '../../proto/binlogsvr-types.ts';
import type { Goal } from './reach.ts';
import { behindOf, memberIn, type Seen, statusIn, unfinished } from './seen.ts';

/** What `phxsql member` wants to be true, step by step. Pure. */

/** Taken in as a learner: the cluster does that by itself with a node that joins. */
export function seated(node: number, hint: string): Goal {
  return {
    what: `node ${node} joins`,
    change: null,
    hint,
    missing: (seen) => {
      refuseRemoved(seen, node);
      return memberIn(seen, node) === undefined ? unfinished(seen, node, 'learner') || 'is not taken in yet' : '';
    },
  };
}

/** A vote, once it has caught up; a learner stays what it is. */
export function added(node: number, kind: MemberKind, election: ElectionRule, hint: string): Goal {
  return {
    what: `add node ${node}`,
    change: kind === 'learner' ? null : { change: 'add', node, kind, election },
    hint,
    missing: (seen) => {
      const now = memberIn(seen, node);
      if (now?.kind === kind) return '';
      if (now !== undefined && now.kind !== 'learner') {
        throw new PhxError('MEMBER_REFUSED', `add node ${node} as a ${kind}: it is a ${now.kind} already`, {
          hint: 'remove it first, and add a node with an empty data directory',
        });
      }
      const left = behindOf(seen, node)?.log ?? 0;
      return left === 0 ? `becomes a ${kind}` : `catches up: its log lacks ${left} instances`;
    },
  };
}

/** It votes, and its MySQL follows. */
export function serving(node: number, kind: MemberKind, hint: string): Goal {
  return { what: `node ${node}`, change: null, hint, missing: (seen) => unfinished(seen, node, kind) };
}

export function removed(node: number, hint: string): Goal {
  return {
    what: `remove node ${node}`,
    change: { change: 'remove', node },
    hint,
    missing: (seen) => {
      if (seen.members.length > 0 && memberIn(seen, node) === undefined) return '';
      const master = isMaster(seen, node);
      return master ? 'it is the master: hands over first' : 'is asked of the master';
    },
  };
}

/** `by` takes the seat of `node`, with its vote. */
export function replaced(node: number, by: number, hint: string): Goal {
  return {
    what: `replace node ${node} by node ${by}`,
    change: { change: 'replace', node, by },
    hint,
    missing: (seen) => {
      const gone = seen.members.length > 0 && memberIn(seen, node) === undefined;
      if (gone && memberIn(seen, by) !== undefined) return '';
      if (gone) {
        throw new PhxError('MEMBER_REFUSED', `replace node ${node}: it is not a member`, {
          hint: 'phxsql member list shows who is; phxsql member add makes a node one more',
        });
      }
      if (isMaster(seen, node)) return `node ${node} is the master: hands over first`;
      const left = behindOf(seen, by)?.log ?? 0;
      return left === 0 ? 'is asked of the master' : `node ${by} catches up: its log lacks ${left} instances`;
    },
  };
}

export function elected(node: number, election: ElectionRule, hint: string): Goal {
  return {
    what: `set election rule of node ${node}`,
    change: { change: 'setElection', node, election },
    hint,
    missing: (seen) => {
      const seat = memberIn(seen, node);
      if (seat === undefined && seen.members.length > 0) throw noMember(seen, node);
      return seat?.election === election ? '' : `becomes ${election}`;
    },
  };
}

export function noMember(seen: Seen, node: number): PhxError {
  const ids = seen.members.map((member) => member.node).join(', ');
  return new PhxError('MEMBER_REFUSED', `find node ${node}: it is not a member (members: ${ids})`);
}

function isMaster(seen: Seen, node: number): boolean {
  const view = statusIn(seen, node)?.view;
  return view?.open === true && view.master === node;
}

function refuseRemoved(seen: Seen, node: number): void {
  if (statusIn(seen, node)?.view.membership?.kind !== 'removed') return;
  throw new PhxError('MEMBER_REFUSED', `add node ${node}: its store was removed from the cluster, for ever`, {
    hint: 'stop it, empty its data_dir, start it again',
  });
}
