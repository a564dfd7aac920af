import { DirLock } from '../../../../cli/dir-lock.ts';

/** Usage: lock-holder.ts DIR: takes its lock, says so, and lives. */
await DirLock.take(process.argv[2] ?? '', () => null);
process.stdout.write('locked\n');
setInterval(() => {}, 1_000_000);
