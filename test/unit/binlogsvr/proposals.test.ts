import { expect, test } from 'vitest';
import { type InstanceId, instanceId, monoMs } from '../../../base/brands.ts';
import { PROPOSE_WAITERS_MAX, Proposals } from '../../../binlogsvr/proposals.ts';
import type { Applied } from '../../../binlogsvr/state-types.ts';

function appliedAt(instance: InstanceId): Applied {
  return { instance, value: { kind: 'noop' }, accepted: true, code: null, reason: '', transactions: [] };
}

function book(window: number) {
  const core = { next: 1, free: window, wait: true };
  const proposals = new Proposals({
    propose: () => {
      if (core.free === 0) return null;
      core.free -= 1;
      core.next += 1;
      return instanceId(core.next - 1);
    },
    mayWait: () => core.wait,
  });
  return { core, proposals };
}

const value = (n: number): Uint8Array => Buffer.from([n]);

test('resolves when its slot is applied with its bytes, NOT_LEADER with other bytes', async () => {
  const { proposals } = book(2);
  const first = proposals.submit(value(1), 'data', 1000);
  const second = proposals.submit(value(2), 'data', 1000);
  proposals.applied(value(1), appliedAt(instanceId(1)));
  proposals.applied(value(9), appliedAt(instanceId(2)));
  expect((await first).instance).toBe(1);
  await expect(second).rejects.toMatchObject({ code: 'NOT_LEADER' });
});

test('waits in order for a slot; nobody overtakes within a lane', async () => {
  const { core, proposals } = book(1);
  const all = [1, 2, 3].map((n) => proposals.submit(value(n), 'data', 1000));
  core.free = 1;
  const late = proposals.submit(value(4), 'data', 1000);
  proposals.pump();
  core.free = 2;
  proposals.pump();
  for (const n of [1, 2, 3, 4]) proposals.applied(value(n), appliedAt(instanceId(n)));
  expect((await Promise.all([...all, late])).map((a) => a.instance)).toEqual([1, 2, 3, 4]);
});

test('refused for good where nothing was proposed, unknown where it was', async () => {
  const { core, proposals } = book(1);
  const placed = proposals.submit(value(1), 'data', 500);
  const queued = proposals.submit(value(2), 'data', 500);
  proposals.expire(monoMs(501));
  await expect(placed).rejects.toMatchObject({ code: 'TIMEOUT' });
  await expect(queued).rejects.toMatchObject({ code: 'BUSY' });
  const waiting = proposals.submit(value(3), 'data', 1000);
  core.wait = false;
  proposals.pump();
  await expect(waiting).rejects.toMatchObject({ code: 'NOT_LEADER' });
  await expect(proposals.submit(value(4), 'data', 1000)).rejects.toMatchObject({ code: 'NOT_LEADER' });
});

test('bounded', async () => {
  const { proposals } = book(0);
  const all = Array.from({ length: PROPOSE_WAITERS_MAX }, () => proposals.submit(value(1), 'data', 1000));
  await expect(proposals.submit(value(2), 'data', 1000)).rejects.toMatchObject({ code: 'BUSY' });
  proposals.close();
  await Promise.allSettled(all);
});

test('held, nothing is proposed; released, everything goes on', async () => {
  const { proposals } = book(9);
  proposals.hold(true);
  const waiting = proposals.submit(value(1), 'lease', 1000);
  expect(proposals.placed).toBe(0);
  proposals.hold(false);
  expect(proposals.placed).toBe(1);
  proposals.applied(value(1), appliedAt(instanceId(1)));
  await waiting;
});
