/** `npm run test:full` runs every count the issues name; `npm test` a smaller number of each. */
export const FULL = process.env['PHXSQL_TIER'] === 'full';

export function count(full: number, quick: number): number {
  return FULL ? full : quick;
}
