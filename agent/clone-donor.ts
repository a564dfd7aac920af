import { atLeast, parseMysqlVersion } from '../base/mysql-install.ts';
import { GtidSet } from '../mysql/gtid-set.ts';
import type { AgentReport } from '../proto/binlogsvr-types.ts';

/** What another node says about itself. */
export type NodeAnswer = Readonly<{
  /** null: its agent does not report. */
  agent: AgentReport | null;
  /** GTIDs of its log, as of this answer (newer than what its agent reported). */
  logSet: string;
  /** Up to where its MySQL has executed its log. */
  executedIndex: number;
}>;

/** Where its mysqld listens, and its answer; null: it could not be asked, for the reason in `error`. */
export type NodeLook = Readonly<{ node: number; host: string; port: number; answer: NodeAnswer | null; error: string }>;

export type Donor = Readonly<{
  node: number;
  host: string;
  port: number;
  master: boolean;
  /** What it had executed when it was asked: the copy holds at least this. */
  gtidExecuted: string;
  /** A copy ends with the process it is made from. */
  mysqldPid: number;
}>;

export type DonorQuestion = Readonly<{
  looks: readonly NodeLook[];
  /** Of the server that is to hold the copy. */
  mysqlVersion: string;
  /** GTIDs the log of this node cannot serve: a copy without them would not be able to go on from it. */
  purged: string;
  /** This node's own MySQL holds data, or may: nobody could look. */
  holdsData: boolean;
  /** Copies that failed, by the node they were made from. */
  failures: ReadonlyMap<number, number>;
}>;

/** A slave is asked again so often before the master has to do it: a copy slows its commits down. */
const MASTER_AFTER_FAILURES = 2;

/**
 * Whom to copy from: of those who have everything the log of this node cannot serve, the one that failed least, slaves before
 * the master, the freshest of them. Null with the reason of each if nobody has the data: then what this node holds may be the
 * last copy.
 */
export function chooseDonor(question: DonorQuestion): Readonly<{ donor: Donor | null; refusal: string }> {
  const { looks, failures } = question;
  const refusals: string[] = [];
  const fit: { donor: Donor; cost: number; executedIndex: number }[] = [];
  for (const look of looks) {
    const { node, host, port, answer } = look;
    const agent = answer?.agent ?? null;
    const refusal = refusalOf(look, question);
    if (refusal !== '' || answer === null || agent === null) {
      refusals.push(`node ${node} ${refusal}`);
      continue;
    }
    const master = agent.role === 'master';
    fit.push({
      donor: {
        node,
        host,
        port,
        master,
        gtidExecuted: agent.gtidExecuted,
        mysqldPid: agent.mysqldPid,
      },
      cost: (failures.get(node) ?? 0) + (master ? MASTER_AFTER_FAILURES : 0),
      executedIndex: answer.executedIndex,
    });
  }
  fit.sort((a, b) => a.cost - b.cost || b.executedIndex - a.executedIndex || a.donor.node - b.donor.node);
  const refusal = refusals.length === 0 ? 'there is no other node' : refusals.join('; ');
  return { donor: fit[0]?.donor ?? null, refusal };
}

/** Why its data cannot stand in for this node's; '' if it can. */
function refusalOf(look: NodeLook, { mysqlVersion, purged, holdsData }: DonorQuestion): string {
  if (look.answer === null) return `cannot be asked (${look.error})`;
  const { agent, logSet } = look.answer;
  if (agent === null) return 'has an agent that does not report';
  const serves = agent.role === 'replica' ? agent.servingReads : agent.role === 'master' && agent.servingWrites;
  if (!serves || agent.mysqldPid === 0) return `is not healthy (${agent.role})`;
  if (!sameSeries(agent.mysqlVersion ?? '', mysqlVersion)) {
    return `runs MySQL ${agent.mysqlVersion || 'of an unknown version'}, of which ${mysqlVersion} takes no copy`;
  }
  const executed = GtidSet.parse(agent.gtidExecuted);
  if (!executed.isSubsetOf(GtidSet.parse(logSet))) return 'has executed what its log does not hold';
  if (!GtidSet.parse(purged).isSubsetOf(executed)) return 'lacks what the log no longer holds';
  // Where nobody has executed anything, the data of this node is from before the cluster: there is no other copy of it.
  if (executed.isEmpty && holdsData) return 'has executed nothing';
  return '';
}

/** CLONE takes a copy of the same release series only (design 9.14); before 8.0.37 of the very same version. */
export function sameSeries(donor: string, recipient: string): boolean {
  const [theirs, ours] = [parseMysqlVersion(donor), parseMysqlVersion(recipient)];
  if (theirs === null || ours === null) return false;
  if (theirs[0] !== ours[0] || theirs[1] !== ours[1]) return false;
  return theirs[2] === ours[2] || (atLeast(theirs, [8, 0, 37]) && atLeast(ours, [8, 0, 37]));
}
