/**
 * Which metadata locks of MySQL exclude each other (the tables in sql/mdl.cc, as its manual calls the locks). performance_schema tells
 * who holds what on an object and who waits there, but not who waits for whom: a reader beside the LOCK TABLES that the applier
 * waits for must not be taken for its cause.
 */

/** Of an object (a table, a routine): wanted lock -> held ones that keep it waiting. */
const OBJECT: Readonly<Record<string, readonly string[]>> = {
  SHARED: ['EXCLUSIVE'],
  SHARED_HIGH_PRIO: ['EXCLUSIVE'],
  SHARED_READ: ['SHARED_NO_READ_WRITE', 'EXCLUSIVE'],
  SHARED_WRITE: ['SHARED_READ_ONLY', 'SHARED_NO_WRITE', 'SHARED_NO_READ_WRITE', 'EXCLUSIVE'],
  SHARED_WRITE_LOW_PRIO: ['SHARED_READ_ONLY', 'SHARED_NO_WRITE', 'SHARED_NO_READ_WRITE', 'EXCLUSIVE'],
  SHARED_UPGRADABLE: ['SHARED_UPGRADABLE', 'SHARED_NO_WRITE', 'SHARED_NO_READ_WRITE', 'EXCLUSIVE'],
  SHARED_READ_ONLY: ['SHARED_WRITE', 'SHARED_WRITE_LOW_PRIO', 'SHARED_NO_READ_WRITE', 'EXCLUSIVE'],
  SHARED_NO_WRITE: [
    ...['SHARED_WRITE', 'SHARED_WRITE_LOW_PRIO', 'SHARED_UPGRADABLE', 'SHARED_NO_WRITE'],
    ...['SHARED_NO_READ_WRITE', 'EXCLUSIVE'],
  ],
  SHARED_NO_READ_WRITE: [
    ...['SHARED_READ', 'SHARED_WRITE', 'SHARED_WRITE_LOW_PRIO', 'SHARED_UPGRADABLE', 'SHARED_READ_ONLY'],
    ...['SHARED_NO_WRITE', 'SHARED_NO_READ_WRITE', 'EXCLUSIVE'],
  ],
};

/** Objects that hold others, the server itself among them: only intentions go together there. */
const SCOPES: ReadonlySet<string> = new Set([
  'GLOBAL',
  'COMMIT',
  'SCHEMA',
  'TABLESPACE',
  'BACKUP LOCK',
  'BACKUP TABLES',
]);

/** Whether a granted lock `held` keeps somebody waiting who wants `wanted` on an object of `type`. */
export function excludes(type: string, wanted: string, held: string): boolean {
  if (SCOPES.has(type)) {
    if (wanted === 'SHARED' && held === 'SHARED') return false;
    return !(wanted === 'INTENTION_EXCLUSIVE' && held === 'INTENTION_EXCLUSIVE');
  }
  if (wanted === 'EXCLUSIVE') return true;
  return OBJECT[wanted]?.includes(held) ?? false;
}
