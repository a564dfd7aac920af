import { describe, expect, test } from 'vitest';
import { epochOf, instanceId, monoMs, nodeId } from '../../../base/brands.ts';
import { DEFAULT_LEASE } from '../../../base/topology.ts';
import { LeaseClock, leaseKeyOf } from '../../../binlogsvr/lease-clock.ts';
import type { LogValue } from '../../../binlogsvr/values.ts';

const TAKEOVER = DEFAULT_LEASE.takeoverMs;
const key = (epoch: number, renewal: number, incarnation = 1) => ({ epoch: epochOf(epoch), renewal, incarnation });
const state = (epoch: number, renewal: number, open = true, leaseIncarnation = 1) => ({
  ...key(epoch, renewal),
  leaseIncarnation,
  open,
  master: nodeId(1),
});
const now = monoMs;

function clockWith(...seen: [epoch: number, renewal: number, at: number, ageMs?: number][]): LeaseClock {
  const clock = new LeaseClock(DEFAULT_LEASE);
  for (const [epoch, renewal, at, ageMs] of seen) clock.observe(key(epoch, renewal), now(at), ageMs);
  return clock;
}

describe('how long an election waits', () => {
  test('from the first sighting of the newest renewal', () => {
    const clock = clockWith([1, 0, 1000], [1, 1, 1500]);
    expect(clock.takeoverInMs(state(1, 1), now(1500))).toBe(TAKEOVER);
    expect(clock.takeoverInMs(state(1, 1), now(1500 + TAKEOVER - 1))).toBe(1);
    expect(clock.takeoverInMs(state(1, 1), now(1500 + TAKEOVER))).toBe(0);
    expect(clock.takeoverInMs(state(1, 1), now(999_999))).toBe(0);
  });

  test('seen again, or learned again while catching up, the wait does not begin anew', () => {
    const clock = clockWith([1, 1, 1500], [1, 1, 3000], [1, 0, 3000], [0, 9, 3000]);
    expect(clock.takeoverInMs(state(1, 1), now(1500 + TAKEOVER))).toBe(0);
  });

  test("a peer's age moves the sighting back, never forward (protocol-findings 17)", () => {
    const clock = clockWith([1, 1, 5000], [1, 1, 5100, 2000]);
    expect(clock.takeoverInMs(state(1, 1), now(5100))).toBe(TAKEOVER - 2000);
    clock.observe(key(1, 1), now(9000), 10);
    clock.observe(key(1, 1), now(9000), -99_999);
    expect(clock.takeoverInMs(state(1, 1), now(5100))).toBe(TAKEOVER - 2000);
  });

  test('a renewal accepted but not yet applied counts already', () => {
    const clock = clockWith([1, 1, 1000], [1, 2, 2000]);
    expect(clock.takeoverInMs(state(1, 1), now(2000))).toBe(TAKEOVER);
  });

  test('the whole time if this epoch was never seen; none if no epoch is open', () => {
    expect(clockWith().takeoverInMs(state(1, 0), now(5))).toBe(TAKEOVER);
    expect(clockWith([1, 7, 0]).takeoverInMs(state(2, 0), now(99_999))).toBe(TAKEOVER);
    expect(clockWith([1, 0, 1000]).takeoverInMs(state(1, 0, false), now(1000))).toBe(0);
  });

  test('the same renewal proposed by two processes: the later one may be chosen, until the log says which', () => {
    const clock = clockWith([1, 0, 1000]);
    clock.observe(key(1, 1, 7), now(2000));
    clock.observe(key(1, 1, 8), now(4000));
    clock.observe(key(1, 1, 8), now(5000));
    expect(clock.takeoverInMs(state(1, 0), now(4000))).toBe(TAKEOVER);
    expect(clock.takeoverInMs(state(1, 1, true, 8), now(4000))).toBe(TAKEOVER);
    expect(clock.takeoverInMs(state(1, 1, true, 7), now(4000))).toBe(TAKEOVER - 2000);
    expect(clock.newest()).toMatchObject({ incarnation: 8 });
    for (let i = 10; i < 30; i += 1) clock.observe(key(1, 1, i), now(4000 + i));
    expect(clock.takeoverInMs(state(1, 1, true, 7), now(4029))).toBe(TAKEOVER); // forgotten: the longest wait
  });

  test('a higher renewal of an earlier epoch is not newer', () => {
    const clock = clockWith([2, 0, 1000], [1, 50, 3000]);
    expect(clock.newest()).toMatchObject({ epoch: 2, renewal: 0 });
  });
});

test('a stranger is refused while the lease runs, the master itself never', () => {
  const clock = clockWith([1, 0, 1000]);
  const during = now(1000 + TAKEOVER - 1);
  expect(clock.forbids(nodeId(2), state(1, 0), during)).toBe(true);
  expect(clock.forbids(nodeId(1), state(1, 0), during)).toBe(false);
  expect(clock.forbids(nodeId(2), state(1, 0), now(1000 + TAKEOVER))).toBe(false);
  expect(clock.forbids(nodeId(2), state(1, 0, false), during)).toBe(false);
});

test('what peers are told: the newest key and its age by this clock', () => {
  expect(clockWith().newest()).toBeNull();
  const newest = clockWith([1, 0, 1000], [1, 1, 2000, 300]).newest();
  expect(newest).toMatchObject({ epoch: 1, renewal: 1 });
  expect(newest?.ageMs(now(2500))).toBe(800);
  expect(newest?.ageMs(now(0))).toBe(0);
});

test.each<[LogValue, ReturnType<typeof key> | null]>([
  [{ kind: 'elect', node: nodeId(2), basedOnEpoch: epochOf(4), executedUpTo: instanceId(1) }, key(5, 0, 0)],
  [{ kind: 'transfer', epoch: epochOf(4), to: nodeId(2), executedUpTo: instanceId(1) }, key(5, 0, 0)],
  [{ kind: 'renew', epoch: epochOf(4), renewal: 3 }, key(4, 3, 0)],
  [{ kind: 'renew', epoch: epochOf(4), renewal: 3, incarnation: 17 }, key(4, 3, 17)],
  [{ kind: 'fence', epoch: epochOf(4), basedOnRenewal: 3, by: nodeId(2), release: true }, null],
  [{ kind: 'append', epoch: epochOf(4), follows: 3, items: [] }, null],
  [{ kind: 'noop' }, null],
])('the lease key of %o', (value, expected) => {
  expect(leaseKeyOf(value)).toEqual(expected);
});
