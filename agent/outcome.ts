import type { Logger } from '../base/ports.ts';
import { NotYet } from './context.ts';

/** A refusal is an answer of the log, not a failure: the view will show why. @throws NotYet if it may be asked again */
export function heed(
  log: Logger,
  what: string,
  outcome: Readonly<{ accepted: boolean; code: string; reason: string }>,
): void {
  if (outcome.accepted) return;
  log.info(`${what} refused`, { code: outcome.code, reason: outcome.reason });
  if (outcome.code !== 'WRONG_EPOCH' && outcome.code !== 'NOT_EXECUTED') throw new NotYet(`${what}: ${outcome.reason}`);
}
