/** What every component does with its supervisor: ends with it, and stops in order when told. */
export function onStop(close: () => Promise<void>): void {
  let closing = false;
  const stop = (): void => {
    if (closing) return;
    closing = true;
    void close().then(() => process.exit(0));
  };
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(signal, stop);
}

/** The supervisor is gone and the kernel did not tell (no setpriv): a component without one must not live on. */
export function dieWithSupervisor(): void {
  process.on('disconnect', () => process.exit(1));
}
