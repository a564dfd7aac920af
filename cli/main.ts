import { PhxError, reasonOf } from '../base/errors.ts';
import { InvariantError } from '../base/invariant.ts';
import { keepCompiledCode } from './compile-cache.ts';

/**
 * Where the program begins, and the only place where an error becomes an exit status:
 *   0 done · 1 an operating error (or no master, for status) · 2 usage · 70 a bug
 */
const EXIT_ERROR = 1;
const EXIT_USAGE = 2;
const EXIT_BUG = 70;

function fail(error: unknown): never {
  if (error instanceof PhxError) {
    process.stderr.write(`phxsql: ${error.message}\n${error.hint === undefined ? '' : `hint: ${error.hint}\n`}`);
    process.exit(EXIT_ERROR);
  }
  if (isCommanderError(error)) process.exit(error.exitCode === 0 ? 0 : EXIT_USAGE); // it has said what is wrong
  if (isBrokenPipe(error)) process.exit(EXIT_ERROR); // whoever read our output went away
  const stack = error instanceof Error ? error.stack : reasonOf(error);
  const what = error instanceof InvariantError ? 'a broken assumption, please report it' : 'an unexpected error';
  process.stderr.write(`phxsql: ${what}\n${stack ?? ''}\n`);
  if (error instanceof Error && error.cause !== undefined) process.stderr.write(`cause: ${reasonOf(error.cause)}\n`);
  process.exit(EXIT_BUG);
}

/** commander is loaded later: its class is recognised by its code. */
function isCommanderError(error: unknown): error is { exitCode: number } {
  return (
    error instanceof Error && 'code' in error && String(error.code).startsWith('commander.') && 'exitCode' in error
  );
}

function isBrokenPipe(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'EPIPE';
}

process.on('uncaughtException', fail);
process.on('unhandledRejection', fail);
keepCompiledCode(); // before anything else is loaded
try {
  const { run } = await import('./program.ts');
  await run(process.argv);
} catch (error) {
  fail(error);
}
