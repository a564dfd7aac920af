import { onTestFinished } from 'vitest';
import type { Epoch } from '../../base/brands.ts';
import { type Rule, switchOff } from '../../base/rules.ts';
import type { Applied } from '../../binlogsvr/state-types.ts';
import type { LogValue } from '../../binlogsvr/values.ts';
import { World } from '../unit/binlogsvr/replica-world.ts';

/** What scripts have in common. A schedule is a function that answers with what can be seen at its end. */

/** For the rest of this test. */
export function without(...rules: readonly Rule[]): void {
  onTestFinished(switchOff(...rules));
}

/** Three nodes, node 1 master of epoch 1. */
export async function mastered(size = 3): Promise<World> {
  const world = await World.start(size);
  await world.elect(1);
  await world.until('all know', () => world.allApplied(world.at(1).state.appliedIndex));
  return world;
}

/** Who says that it holds the lease at this moment. */
export function holders(world: World): readonly number[] {
  return [...world.replicas]
    .filter(([, replica]) => replica.leaseRemainingMs > 0)
    .map(([node]) => Number(node))
    .sort();
}

/** `epoch: master` as each node that runs sees it. */
export function masters(world: World): Readonly<Record<number, string>> {
  return Object.fromEntries(
    [...world.replicas].map(([node, { state }]) => [node, `${state.epoch}: node ${state.master}`]),
  );
}

/** Proposes on that node and tells how it ended: 'accepted', the code of the refusal, or of the error. */
export async function fate(world: World, work: Promise<object>): Promise<string> {
  try {
    const outcome = (await world.done(work)) as Partial<Applied>;
    return outcome.accepted === true ? 'accepted' : String(outcome.code);
  } catch (error) {
    return String((error as { code?: unknown }).code ?? error);
  }
}

export function propose(world: World, node: number, value: LogValue, ms = 3000): Promise<Applied> {
  return world.at(node).propose(value, value.kind === 'append' ? 'data' : 'lease', ms);
}

/** Waits until that node's clock allows the takeover, then fences the epoch: in ms since the call. */
export async function takeOver(world: World, node: number, epoch: Epoch | number, ms = 15_000): Promise<number> {
  const began = world.clock.now();
  for (;;) {
    await world.until('takeover due', () => world.at(node).takeoverInMs === 0, ms);
    const outcome = await world.done(world.lease(node).fence(epoch, false, 1000));
    if (outcome.accepted || outcome.code === 'WRONG_EPOCH') return world.clock.now() - began;
    if (world.clock.now() - began > ms) throw new Error(`not fenced: ${outcome.reason}`);
    await world.run(50);
  }
}
