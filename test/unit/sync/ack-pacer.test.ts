import { describe, expect, test } from 'vitest';
import { AckPacer } from '../../../sync/ack-pacer.ts';
import { STEP_MS } from '../../../sync/flow-control.ts';
import { HandClock } from '../../support/hand-clock.ts';

const at = (position: number) => ({ file: 'binlog.000001', position });

function world(maxDelayMs = 400) {
  const clock = new HandClock();
  const sent: [number, number][] = [];
  const told: number[] = [];
  const lag = { ms: 0 as number | null };
  const pacer = new AckPacer({
    flow: {
      policy: { maxCandidateLagMs: 1000, maxDelayMs, killBlockersAfterMs: 0 },
      candidateLagMs: () => lag.ms,
    },
    clock,
    send: ({ position }) => sent.push([clock.mono - 1000, position]),
    changed: (delayMs) => told.push(delayMs),
  });
  return { clock, sent, told, lag, pacer };
}

describe('acks under flow control', () => {
  test('leave at once while a candidate keeps up', () => {
    const { pacer, sent } = world();
    for (const position of [1, 2, 3]) pacer.ack(at(position));
    expect(sent.map(([, position]) => position)).toEqual([1, 2, 3]);
  });

  test('leave with the delay between them, the newest for all before', async () => {
    const { clock, pacer, sent, lag } = world();
    lag.ms = 9_000;
    pacer.ack(at(1));
    pacer.ack(at(2));
    pacer.ack(at(3));
    expect(sent).toEqual([[0, 1]]);
    await clock.pass(400);
    expect(sent).toEqual([
      [0, 1],
      [50, 3],
    ]);
  });

  test('one that comes later than the delay does not wait', async () => {
    const { clock, pacer, sent, lag } = world();
    lag.ms = 9_000;
    pacer.ack(at(1));
    await clock.pass(5_000);
    pacer.ack(at(2));
    expect(sent.at(-1)).toEqual([5_000, 2]);
  });

  test('no ack waits longer than the longest delay, however far behind the candidates are', async () => {
    const { clock, pacer, sent, lag } = world();
    lag.ms = 3_600_000;
    for (let position = 1; position <= 300; position += 1) {
      pacer.ack(at(position));
      await clock.pass(20);
    }
    await clock.pass(400);
    const gaps = sent.map(([when], i) => when - (sent[i - 1]?.[0] ?? 0));
    expect(Math.max(...gaps)).toBeLessThanOrEqual(420);
    expect(Math.max(...gaps)).toBeGreaterThan(350);
    expect(sent.at(-1)?.[1]).toBe(300);
  });

  test('the delay ends although nobody writes any more', async () => {
    const { clock, pacer, told, lag } = world();
    lag.ms = 9_000;
    pacer.ack(at(1));
    await clock.pass(3 * STEP_MS);
    lag.ms = 0;
    await clock.pass(10 * STEP_MS);
    expect(told.at(-1)).toBe(0);
    expect(Math.max(...told)).toBe(200);
  });

  test('what waits when the stream ends is not sent on it', async () => {
    const { clock, pacer, sent, told, lag } = world();
    lag.ms = 9_000;
    pacer.ack(at(1));
    pacer.ack(at(2));
    pacer.close();
    await clock.pass(5_000);
    expect(sent).toEqual([[0, 1]]);
    expect(told.at(-1)).toBe(0);
  });
});
