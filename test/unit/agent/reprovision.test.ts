import { describe, expect, test } from 'vitest';
import { recover, settle } from '../../../agent/recovery.ts';
import { Reprovisioner } from '../../../agent/reprovision.ts';
import { DEFAULT_REPROVISION, type ReprovisionKind } from '../../../agent/reprovision-plan.ts';
import { agentOf, type ScriptedAgent } from '../../script/scripted-agent.ts';
import { ScriptedCloneHost } from '../../script/scripted-clone.ts';
import { logged, T } from '../../script/scripted-mysqld.ts';
import { mastered } from '../../script/steps.ts';
import type { World } from '../binlogsvr/replica-world.ts';

const LOGGED = [1, 2].map(T);

/** Three nodes whose log holds T1 and T2; the MySQL of node 3 holds T1 and T9. */
class Scene {
  readonly world: World;
  readonly agent: ScriptedAgent;
  readonly host: ScriptedCloneHost;
  #life: Reprovisioner;

  private constructor(world: World) {
    this.world = world;
    this.agent = agentOf(world, 3);
    this.host = new ScriptedCloneHost(this.agent.mysqld, this.agent.context.clock);
    this.#life = this.#born();
  }

  static async begin(): Promise<Scene> {
    const world = await mastered();
    const { epoch } = world.at(1).state;
    for (const [follows, transaction] of LOGGED.entries()) {
      const value = { kind: 'append', epoch, follows, items: [logged(transaction)] } as const;
      const { instance } = await world.done(world.at(1).propose(value, 'data', 2000));
      await world.until('all know it', () => world.allApplied(instance));
    }
    const scene = new Scene(world);
    for (const n of [1, 9]) scene.agent.mysqld.write(T(n));
    const { pid } = await scene.agent.mysqld.start();
    scene.agent.context.watch.begin(pid, 0);
    await world.done(scene.agent.context.watch.probeNow());
    scene.agent.context.become('failed', 'diverged');
    return scene;
  }

  get facts() {
    return this.#life.facts(this.agent.context.clock.now());
  }

  get base(): string {
    return this.#life.base;
  }

  run(kind: ReprovisionKind = 'diverged'): Promise<string> {
    return this.world.done(
      this.#life.run(this.agent.context, kind, 'T9 is in no log').then(
        () => 'copied',
        (error: Error) => error.message,
      ),
    );
  }

  /** As the agent does it when nothing is under way any more. */
  async comeBack(): Promise<void> {
    const { context } = this.agent;
    await this.world.done(recover(context, 'mysqld does not run', false));
    await this.world.done(settle(context, 'compares'));
    await this.world.done(this.#life.settled(context));
  }

  startFailed(): Promise<void> {
    return this.#life.startFailed();
  }

  /** The next agent of the node. */
  async reborn(): Promise<void> {
    this.host.dieBehind = 0;
    this.#life = this.#born();
    await this.#life.load();
  }

  #born(): Reprovisioner {
    return new Reprovisioner({ host: this.host, policy: DEFAULT_REPROVISION });
  }
}

describe('a node that diverged', () => {
  test('is set aside, copied, and follows the log again', async () => {
    const scene = await Scene.begin();
    scene.host.offer(2, [T(1)]);
    expect(await scene.run()).toBe('copied');
    expect([...scene.host.aside.values()]).toEqual([[T(1).gtid, T(9).gtid]]);
    expect([...scene.agent.mysqld.committed]).toEqual([T(1).gtid]);
    // Until it is a replica, the log behind the copy is kept.
    expect(scene.base).not.toBe('');
    expect(scene.facts.underWay).toBe(false);
    await scene.comeBack();
    expect(scene.agent.context.role()).toBe('replica');
    expect(scene.host.journal).toBeNull();
    expect(scene.base).toBe('');
  });

  test('ends well wherever the agent died, with its old data set aside once', async () => {
    const whole = await Scene.begin();
    whole.host.offer(2, LOGGED);
    await whole.run();
    await whole.comeBack();
    for (let n = 1; n <= whole.host.done.length; n += 1) {
      const scene = await Scene.begin();
      scene.host.offer(2, LOGGED);
      scene.host.dieBehind = n;
      await scene.run();
      if (!scene.host.dead) await scene.comeBack().catch(() => {});
      expect(scene.host.dead).toBe(true);
      const at = whole.host.done[n - 1] as string;
      await scene.reborn();
      // Half of a copy is never started as if it were a whole one.
      if (scene.facts.underWay) expect(await scene.run(), at).toBe('copied');
      if (scene.agent.context.role() !== 'replica') await scene.comeBack();
      expect(scene.agent.context.role(), at).toBe('replica');
      expect([...scene.agent.mysqld.committed], at).toEqual(LOGGED.map(({ gtid }) => gtid));
      expect([...scene.host.aside.values()], at).toEqual([[T(1).gtid, T(9).gtid]]);
      expect(scene.host.journal, at).toBeNull();
    }
  });

  test('its donor dies: said, and after a pause another one is asked', async () => {
    const scene = await Scene.begin();
    scene.host.offer(1, [T(1)], { role: 'master', servingReads: false, servingWrites: true });
    scene.host.offer(2, LOGGED);
    scene.host.copies.set(102, () => new Promise(() => {}));
    const copying = scene.run();
    await scene.world.until('copies', () => scene.host.done.includes('clone'));
    scene.host.lose(2);
    expect(await copying).toBe('clone from node 2: its donor is gone');
    expect(scene.facts).toEqual({
      mode: 'auto',
      underWay: true,
      retryInMs: 1000,
      said: 'copy 1 failed: clone from node 2: its donor is gone',
    });
    expect(await scene.run()).toBe('copied');
    await scene.comeBack();
    expect([...scene.agent.mysqld.committed]).toEqual([T(1).gtid]);
  });

  test('its donor is started again in the middle: the copy is begun again', async () => {
    const scene = await Scene.begin();
    scene.host.offer(2, LOGGED);
    scene.host.copies.set(102, () => new Promise(() => {}));
    const copying = scene.run();
    await scene.world.until('copies', () => scene.host.done.includes('clone'));
    scene.host.offer(2, LOGGED, { mysqldPid: 77 });
    expect(await copying).toBe('clone from node 2: the mysqld of its donor ended');
    expect(await scene.run()).toBe('copied');
  });

  test('a copy from a master that hangs is given up', async () => {
    const scene = await Scene.begin();
    scene.host.offer(1, LOGGED, { role: 'master', servingReads: false, servingWrites: true });
    scene.host.copies.set(101, () => new Promise(() => {}));
    scene.host.shown = { stage: 'FILE COPY', doneBytes: 5, estimateBytes: 10 };
    const began = scene.world.clock.now();
    expect(await scene.run()).toMatch(/nothing moved for \d+ s \(FILE COPY\)/);
    expect(scene.world.clock.now() - began).toBeLessThan(20_000);
    expect(scene.agent.mysqld.child).toBeNull();
  });

  test('MySQL refuses the copy: in its words', async () => {
    const scene = await Scene.begin();
    scene.host.offer(2, LOGGED);
    scene.host.copies.set(102, () => Promise.reject(new Error('Clone Donor Error: 3873')));
    expect(await scene.run()).toBe('clone from node 2: Clone Donor Error: 3873');
    expect(scene.facts.retryInMs).toBe(1000);
    await scene.run();
    expect(scene.facts).toMatchObject({ retryInMs: 5000, said: /^copy 2 failed/ });
  });

  test('no room for both: nothing is touched', async () => {
    const scene = await Scene.begin();
    scene.host.offer(2, LOGGED);
    scene.host.facts = { bytes: 100, freeBytes: 100, asideBytes: null };
    expect(await scene.run()).toMatch(/T9 is in no log; no room to set the diverged data aside/);
    expect(scene.host.done).toEqual([]);
    expect(scene.agent.mysqld.child).not.toBeNull();
  });

  test('no majority: nothing is touched', async () => {
    const scene = await Scene.begin();
    scene.host.offer(2, LOGGED);
    scene.world.kill(1);
    scene.world.kill(2);
    expect(await scene.run()).toMatch(/nobody else is known to have it: no majority answers/);
    expect(scene.host.done).toEqual([]);
  });

  test('mysqld does not start with the copy: after three times it is made again', async () => {
    const scene = await Scene.begin();
    scene.host.offer(2, LOGGED);
    expect(await scene.run()).toBe('copied');
    for (const underWay of [false, false, true]) {
      await scene.startFailed();
      expect(scene.facts.underWay).toBe(underWay);
    }
    expect(await scene.run()).toBe('copied');
    await scene.comeBack();
    expect(scene.host.journal).toBeNull();
  });

  test('the copy itself turns out to be unfit: another one', async () => {
    const scene = await Scene.begin();
    scene.host.offer(2, LOGGED);
    scene.host.copies.set(102, async () => [T(1)]);
    expect(await scene.run()).toBe('copied');
    await expect(scene.comeBack()).rejects.toThrow(/lacks what that had executed/);
    scene.agent.context.become('failed', 'the copy is unfit');
    scene.host.offer(2, LOGGED);
    expect(await scene.run()).toBe('copied');
    await scene.comeBack();
    expect(scene.host.aside.size).toBe(1);
  });
});
