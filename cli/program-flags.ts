import { InvalidArgumentError } from 'commander';

/** What the commands' flags have in common. */
export const DEFAULT_DIR = './.phxsql';

export function integer(text: string): number {
  if (!/^-?\d{1,6}$/.test(text)) throw new InvalidArgumentError('a whole number is wanted');
  return Number(text);
}
