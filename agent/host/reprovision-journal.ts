import { PhxError } from '../../base/errors.ts';
import type { ReprovisionJournal, ReprovisionStep } from '../reprovision-plan.ts';

const STEPS: readonly ReprovisionStep[] = ['aside', 'clone', 'settle'];

/** @throws PhxError STORE_CORRUPT: what to do with the data directory is not known then */
export function parseJournal(text: string, path: string): ReprovisionJournal {
  const bad = (cause?: unknown): PhxError =>
    new PhxError('STORE_CORRUPT', `read ${path}: it is no re-provisioning journal of this version`, {
      cause,
      hint: 'it is written in one piece: a damaged one means a damaged disk; with the data directory beside it removed, remove it too and the node begins again',
    });
  let journal: ReprovisionJournal;
  try {
    journal = JSON.parse(text) as ReprovisionJournal;
  } catch (cause) {
    throw bad(cause);
  }
  const sound =
    journal?.version === 1 &&
    STEPS.includes(journal.step) &&
    typeof journal.reason === 'string' &&
    (journal.aside === null || /^set-aside-[0-9TZ]+$/.test(journal.aside)) &&
    Number.isSafeInteger(journal.donor) &&
    typeof journal.base === 'string' &&
    Number.isSafeInteger(journal.attempts);
  if (!sound) throw bad();
  return journal;
}
