import { isAliveMessage } from '../../base/ipc.ts';
import type { Clock, Logger } from '../../base/ports.ts';
import { ASK_EVERY_MS, asked, HEARD, isFrozen, NOT_ASKED, SUPERVISOR_PATIENCE } from '../liveness.ts';

/** What every component does with its supervisor: ends with it, answers it, and stops in order when told. */
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

/** Messages that may wait for the component to listen. */
const EARLY_MESSAGES_MAX = 256;

/** How often the supervisor has asked whether this process lives. */
export type Questions = () => number;

/**
 * Answers the supervisor's question from the first moment on. Node keeps messages until somebody listens; now that we do, what is
 * not ours waits here for the component's own listener.
 */
export function answerSupervisor(): Questions {
  const early: unknown[] = [];
  let questions = 0;
  process.on('message', (message: unknown) => {
    if (isAliveMessage(message)) {
      questions += 1;
      process.send?.(message, undefined, undefined, () => {}); // a supervisor that is gone ends us by 'disconnect'
    } else if (process.listenerCount('message') === 1 && early.length < EARLY_MESSAGES_MAX) early.push(message);
  });
  process.on('newListener', (event) => {
    if (event !== 'message') return;
    process.nextTick(() => {
      for (const message of early.splice(0)) process.emit('message', message, undefined);
    });
  });
  return () => questions;
}

/**
 * A supervisor that is frozen reaps nothing, starts nothing, and leaves the proxies without news: killed, it takes the whole node
 * along, and whoever runs the node (the manager of a one-machine cluster, a service manager) starts it again. Only binlogsvr looks,
 * which every node has. One that never asked is another program than ours.
 */
export function watchSupervisor(questions: Questions, clock: Clock, log: Logger, askEveryMs = ASK_EVERY_MS): void {
  const { ppid } = process;
  let silence = NOT_ASKED;
  let before = 0;
  const look = (): void => {
    const now = questions();
    silence = now === before ? asked(silence) : HEARD;
    before = now;
    if (silence.answered && isFrozen(silence, SUPERVISOR_PATIENCE)) {
      log.error('the supervisor is frozen: killed, and this node with it', { supervisor: ppid });
      process.kill(ppid, 'SIGKILL');
      return;
    }
    clock.after(askEveryMs, look);
  };
  look();
}
