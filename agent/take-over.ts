import { ruleHolds } from '../base/rules.ts';
import { electable, type Observation, troubleOfReplica } from './decide.ts';
import { xaUnlogged } from './xa.ts';

/** Why the mysqld that runs here cannot take over from the master that asks for it, or null. Pure. */
export function objectionToTakeOver(o: Observation): string | null {
  const { mysqld, view } = o;
  if (o.role !== 'replica') return `this node is ${o.role}`;
  if (mysqld.state === 'none' || mysqld.probe === null || view === null) return 'mysqld does not answer yet';
  const trouble = troubleOfReplica(o);
  if (trouble !== null) return 'reason' in trouble ? trouble.reason : trouble.do;
  if (mysqld.channel?.applier !== true || mysqld.channel.receiver !== 'ON') return 'its replication does not run';
  if (mysqld.relation === 'extra' || mysqld.relation === 'unknown') return 'mysqld is compared with the log';
  return electable(o, mysqld, view) ?? (ruleHolds('stand-logs-xa') ? xaUnlogged(mysqld.probe, view) : null);
}

/**
 * What this node answers a master that wants to hand over to it. To agree is like standing for election: it holds for the mysqld
 * that runs now, and only that one is promoted if the log names this node.
 */
export class TakeOver {
  #epoch = 0;
  #objection = '';

  /** The epoch it was agreed to take over from; 0: none. */
  get epoch(): number {
    return this.#epoch;
  }

  /** Why it was not agreed, '' if nobody asks. */
  get objection(): string {
    return this.#objection;
  }

  /** True if the answer is another one than before. */
  look(o: Observation): boolean {
    const asked = o.view?.membership?.takesOver ?? 0;
    const objection = asked === 0 ? '' : (objectionToTakeOver(o) ?? '');
    const epoch = asked === 0 || objection !== '' ? 0 : asked;
    const changed = epoch !== this.#epoch || objection !== this.#objection;
    this.#epoch = epoch;
    this.#objection = objection;
    return changed;
  }
}
