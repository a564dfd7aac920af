import { spawn } from 'node:child_process';
import { PhxError } from './errors.ts';

/** Of each output stream this much is kept: the end, where the reason of a failure is. */
const OUTPUT_BYTES_MAX = 256 * 1024;

export type CommandResult = Readonly<{
  /** Exit status; 128 + signal number is not invented here: null when a signal ended it. */
  code: number | null;
  signal: NodeJS.Signals | null;
  stdout: string;
  stderr: string;
}>;

export type CommandOptions = Readonly<{
  env?: NodeJS.ProcessEnv;
  cwd?: string;
  signal?: AbortSignal;
  timeoutMs?: number;
  /** Whole lines of stdout as they come. */
  onLine?: (line: string) => void;
}>;

/** argv that ends when this process does, even by kill -9 (util-linux; setpriv execs, so the pid is the command's own). */
export function dyingWithUs(argv: readonly string[]): readonly string[] {
  return ['setpriv', '--pdeathsig', 'KILL', '--', ...argv];
}

/**
 * Runs a command to its end with stdin closed. A non-zero status is a result; only a command that cannot be started
 * (UNAVAILABLE), a time-out (TIMEOUT) or an abort (CANCELLED) throws, and then the command has been killed and reaped.
 */
export function runCommand(argv: readonly string[], options: CommandOptions = {}): Promise<CommandResult> {
  const [file, ...args] = argv;
  return new Promise((resolve, reject) => {
    if (options.signal?.aborted) {
      reject(new PhxError('CANCELLED', `run ${file}: cancelled`));
      return;
    }
    const child = spawn(file as string, args, {
      stdio: ['ignore', 'pipe', 'pipe'],
      ...(options.env === undefined ? {} : { env: options.env }),
      ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    });
    let failure: PhxError | null = null;
    const kill = (error: PhxError): void => {
      failure ??= error;
      child.kill('SIGKILL');
    };
    const onAbort = (): void => kill(new PhxError('CANCELLED', `run ${file}: cancelled`));
    options.signal?.addEventListener('abort', onAbort, { once: true });
    const timer =
      options.timeoutMs === undefined
        ? undefined
        : setTimeout(
            () => kill(new PhxError('TIMEOUT', `run ${file}: not done after ${options.timeoutMs} ms`)),
            options.timeoutMs,
          );

    let stdout = '';
    let stderr = '';
    let line = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      stdout = (stdout + text).slice(-OUTPUT_BYTES_MAX);
      if (options.onLine === undefined) return;
      const lines = (line + text).split('\n');
      line = (lines.pop() ?? '').slice(-OUTPUT_BYTES_MAX);
      for (const each of lines) options.onLine(each);
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr = (stderr + text).slice(-OUTPUT_BYTES_MAX);
    });
    const settle = (): void => {
      clearTimeout(timer);
      options.signal?.removeEventListener('abort', onAbort);
    };
    child.on('error', (cause) => {
      settle();
      reject(failure ?? new PhxError('UNAVAILABLE', `run ${file}: ${cause.message}`, { cause }));
    });
    child.on('close', (code, signal) => {
      settle();
      if (failure !== null) reject(failure);
      else resolve({ code, signal, stdout, stderr });
    });
  });
}
