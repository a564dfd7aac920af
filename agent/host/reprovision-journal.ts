import type { ReprovisionJournal, ReprovisionStep } from '../reprovision-plan.ts';
import { parseDurable } from './durable-file.ts';

const STEPS: readonly ReprovisionStep[] = ['aside', 'clone', 'settle'];

/** @throws PhxError STORE_CORRUPT: what to do with the data directory is not known then */
export function parseJournal(text: string, path: string): ReprovisionJournal {
  return parseDurable<ReprovisionJournal>(text, {
    path,
    what: 're-provisioning journal',
    remedy: 'with the data directory beside it removed, remove it too and the node begins again',
    sound: (journal) =>
      journal?.version === 1 &&
      STEPS.includes(journal.step) &&
      typeof journal.reason === 'string' &&
      (journal.aside === null || /^set-aside-[0-9TZ]+$/.test(journal.aside)) &&
      Number.isSafeInteger(journal.donor) &&
      typeof journal.base === 'string' &&
      Number.isSafeInteger(journal.attempts),
  });
}
