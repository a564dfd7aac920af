import { describe, expect, test } from 'vitest';
import { epochOf, instanceId, monoMs, nodeId } from '../../../base/brands.ts';
import { HolderLease } from '../../../binlogsvr/holder-lease.ts';
import { initialState } from '../../../binlogsvr/state-machine.ts';
import type { ReplicatedState } from '../../../binlogsvr/state-types.ts';
import type { LogValue } from '../../../binlogsvr/values.ts';

const SELF = nodeId(1);
const at = (ms: number, jump = 0) => ({ now: monoMs(ms), wall: 1e12 + ms + jump });
const elect = (basedOn: number): LogValue => ({
  kind: 'elect',
  node: SELF,
  basedOnEpoch: epochOf(basedOn),
  executedUpTo: instanceId(0),
});
const renew = (epoch: number, renewal: number): LogValue => ({ kind: 'renew', epoch: epochOf(epoch), renewal });
const state = (epoch: number, renewal: number, master = 1, open = true): ReplicatedState => ({
  ...initialState(),
  epoch: epochOf(epoch),
  renewal,
  master: nodeId(master),
  open,
});

function elected(): HolderLease {
  const lease = new HolderLease(SELF, 3000);
  lease.proposing(elect(0), at(100));
  lease.applied(elect(0), true, state(1, 0), at(5000));
  return lease;
}

describe('the holder’s lease', () => {
  test('runs from before the proposal, not from when it was applied', () => {
    expect(elected().remainingMs(at(1100))).toBe(2000);
    expect(elected().remainingMs(at(3100))).toBe(0);
  });

  test('is not extended by a renewal another process proposed, or one that was refused', () => {
    const lease = elected();
    lease.applied(renew(1, 1), true, state(1, 1), at(5000));
    expect(lease.remainingMs(at(1100))).toBe(2000);
    lease.proposing(renew(1, 2), at(1000));
    lease.applied(renew(1, 2), false, state(1, 1), at(5000));
    expect(lease.remainingMs(at(1100))).toBe(2000);
  });

  test('counts from the first copy of a renewal that was proposed twice', () => {
    const lease = elected();
    lease.proposing(renew(1, 1), at(500));
    lease.proposing(renew(1, 1), at(2500));
    lease.applied(renew(1, 1), true, state(1, 1), at(5000));
    expect(lease.remainingMs(at(2500))).toBe(1000);
  });

  test('an election chosen late gives a lease that is over already', () => {
    const lease = new HolderLease(SELF, 3000);
    lease.proposing(elect(0), at(100));
    lease.applied(elect(0), true, state(1, 0), at(5000));
    expect(lease.remainingMs(at(9000))).toBe(0);
  });

  test('ends with a fence, another epoch, and a transfer away', () => {
    const fence: LogValue = { kind: 'fence', epoch: epochOf(1), basedOnRenewal: 0, by: nodeId(2), release: false };
    const fenced = elected();
    fenced.applied(fence, true, state(1, 0, 1, false), at(5000));
    expect(fenced.remainingMs(at(200))).toBe(0);
    const transfer: LogValue = { kind: 'transfer', epoch: epochOf(1), to: nodeId(2), executedUpTo: instanceId(9) };
    const transferred = elected();
    transferred.applied(transfer, true, state(2, 0, 2), at(5000));
    expect(transferred.remainingMs(at(200))).toBe(0);
  });

  test('a transferee holds none until its own first renewal', () => {
    const lease = new HolderLease(SELF, 3000);
    const transfer: LogValue = { kind: 'transfer', epoch: epochOf(1), to: SELF, executedUpTo: instanceId(9) };
    lease.applied(transfer, true, state(2, 0), at(5000));
    expect(lease.remainingMs(at(0))).toBe(0);
    lease.proposing(renew(2, 1), at(10));
    lease.applied(renew(2, 1), true, state(2, 1), at(5000));
    expect(lease.remainingMs(at(10))).toBe(3000);
  });

  test('given up, it does not come back in that epoch', () => {
    const lease = elected();
    lease.proposing(renew(1, 1), at(200));
    lease.end(1);
    expect(lease.remainingMs(at(200))).toBe(0);
    lease.applied(renew(1, 1), true, state(1, 1), at(5000));
    expect(lease.remainingMs(at(200))).toBe(0);
  });

  test('a jump between wall and monotonic clock ends it, for good', () => {
    const lease = elected();
    expect(lease.remainingMs(at(300, 10_000))).toBe(0);
    expect(lease.remainingMs(at(300))).toBe(0);
    expect(elected().remainingMs(at(300, -10_000))).toBe(0);
    expect(elected().remainingMs(at(300, 100))).toBeGreaterThan(0);
  });
});
