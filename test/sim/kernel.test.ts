import { describe, expect, it } from 'vitest';
import { delay } from '../../base/async.ts';
import { Kernel } from './kernel.ts';
import { Machine, SimProcess } from './process.ts';

function world(seed = 1, drain: 'checkpoint' | 'turns' = 'checkpoint') {
  const kernel = new Kernel(seed, { trace: true, drain });
  const machine = new Machine(kernel, 'node 1');
  return { kernel, machine, process: new SimProcess(kernel, 'p', machine) };
}

describe.each(['checkpoint', 'turns'] as const)('the kernel, drained by %s', (drain) => {
  it('fires in the order of time, ties in the order made, and not what was cancelled', async () => {
    const { kernel } = world(1, drain);
    const seen: string[] = [];
    kernel.at(5, () => seen.push('b'));
    kernel.at(5, () => seen.push('c'));
    kernel.at(1, () => {
      seen.push('a');
      kernel.at(100, () => seen.push('never: beyond the end'));
    });
    kernel.at(2, () => seen.push('cancelled'))();
    await kernel.runUntil(50);
    expect(seen).toEqual(['a', 'b', 'c']);
    expect(kernel.now).toBe(50);
  });

  it('drains every microtask before the next event', async () => {
    const { kernel } = world(1, drain);
    const seen: string[] = [];
    kernel.at(1, () => {
      void (async () => {
        for (let i = 0; i < 50; i += 1) await null;
        process.nextTick(() => Promise.resolve().then(() => seen.push('first')));
      })();
    });
    kernel.at(1, () => seen.push('second'));
    await kernel.runUntil(2);
    expect(seen).toEqual(['first', 'second']);
  });

  it('ends with the first error: thrown, reported, or a rejection nobody handles', async () => {
    const thrown = world(1, drain).kernel;
    thrown.at(3, () => {
      throw new Error('broken');
    });
    thrown.at(4, () => thrown.fail(new Error('later')));
    await expect(thrown.runUntil(10)).rejects.toThrow('at 3.000 ms: broken');
    const rejected = world(1, drain).kernel;
    rejected.at(3, () => {
      void Promise.reject(new Error('unheard'));
    });
    await expect(rejected.runUntil(10)).rejects.toThrow('unheard');
  });
});

it('a process that goes round without letting time pass is a failure, not a hang', async () => {
  const { kernel, process } = world();
  kernel.at(5, () => {
    const busy = async (): Promise<void> => {
      for (;;) {
        await null;
        process.clock.now();
      }
    };
    void busy();
  });
  await expect(kernel.runUntil(10)).rejects.toThrow('at 5.000 ms: p goes round');
});

describe('a process', () => {
  it('does nothing once dead: timers do not fire, ports never settle', async () => {
    const { kernel, process } = world();
    const seen: string[] = [];
    process.clock.after(10, () => seen.push('timer'));
    void process.io('write', 10, () => seen.push('effect')).then(() => seen.push('settled'));
    process.onDeath(() => seen.push('died'));
    kernel.at(5, () => process.kill());
    await kernel.runUntil(100);
    expect(seen).toEqual(['died']);
  });

  it('may die before the effect of an operation, or after it', async () => {
    const { kernel, machine } = world();
    const seen: string[] = [];
    for (const crash of ['before', 'after'] as const) {
      const process = new SimProcess(kernel, crash, machine);
      process.fate = () => ({ crash, extraMs: 0 });
      void process.io('write', 1, () => seen.push(`effect ${crash}`)).then(() => seen.push('settled'));
    }
    await kernel.runUntil(10);
    expect(seen).toEqual(['effect after']);
  });

  it('frozen, hears later what came meanwhile, in order, while effects under way happen', async () => {
    const { kernel, process } = world();
    const seen: string[] = [];
    const note = (what: string) => () => seen.push(`${what} at ${kernel.now}`);
    process.clock.after(20, note('timer'));
    void process.io('write', 15, note('effect')).then(note('settled'));
    kernel.at(10, () => process.freeze(90));
    await kernel.runUntil(200);
    expect(seen).toEqual(['effect at 15', 'settled at 100', 'timer at 100']);
  });

  it('has the clocks of its machine: drift, wall jumps, suspend', async () => {
    const kernel = new Kernel(1);
    const machine = new Machine(kernel, 'fast', 0.5);
    const process = new SimProcess(kernel, 'p', machine);
    const mono = process.clock.now();
    const wall = process.clock.wall();
    let firedAt = 0;
    void delay(process.clock, 30).then(() => {
      firedAt = kernel.now;
    });
    kernel.at(10, () => machine.jumpWall(-5000));
    await kernel.runUntil(40);
    expect(firedAt).toBe(20);
    expect(process.clock.now() - mono).toBeCloseTo(60);
    expect(process.clock.wall() - wall).toBe(60 - 5000);
    machine.suspend(10);
    await kernel.runUntil(60);
    expect(process.clock.now() - mono).toBeCloseTo(75);
  });

  it('fires a timer that a suspend put off when its monotonic time has come', async () => {
    const { kernel, machine, process } = world();
    let firedAt = 0;
    process.clock.after(20, () => {
      firedAt = kernel.now;
    });
    kernel.at(10, () => {
      process.freeze(100);
      machine.suspend(100);
    });
    await kernel.runUntil(300);
    expect(firedAt).toBeCloseTo(120);
  });
});

it('the same seed gives the same run, however microtasks are drained; another seed another', async () => {
  const run = async (seed: number, drain: 'checkpoint' | 'turns') => {
    const { kernel, process } = world(seed, drain);
    const random = kernel.fork();
    const loop = async (): Promise<void> => {
      for (;;) {
        await delay(process.clock, random.below(10));
        kernel.trace('loop', () => `drew ${random.below(1000)}`);
        await process.io('write', random.below(3), () => {});
      }
    };
    for (let i = 0; i < 5; i += 1) void loop();
    await kernel.runUntil(1000);
    return { digest: kernel.digest, trace: kernel.traceLines.join('\n') };
  };
  const first = await run(7, 'checkpoint');
  expect(await run(7, 'checkpoint')).toEqual(first);
  expect(await run(7, 'turns')).toEqual(first);
  expect((await run(8, 'checkpoint')).digest).not.toBe(first.digest);
});
