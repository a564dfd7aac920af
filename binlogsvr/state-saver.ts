import { type InstanceId, instanceId, type MonoMs } from '../base/brands.ts';
import { reasonOf } from '../base/errors.ts';
import type { Clock, Logger } from '../base/ports.ts';
import { stateToJson } from './state-machine.ts';
import type { ReplicatedState } from './state-types.ts';
import type { LogStore, Sample } from './store-port.ts';
import { DEFAULT_PACE, type UpkeepPace } from './upkeep-pace.ts';

const SAVE_EVERY_MS = 100;
const SAVE_EVERY_APPLIES = 256;
const SAMPLE_EVERY_BYTES = 1024 * 1024;

/**
 * Writes the applied state down now and then, without fsync and never awaited: it can be rebuilt from the log. A sample is
 * taken only between transactions, so that whoever begins there begins at the first chunk of what follows.
 */
export class StateSaver {
  readonly #store: LogStore;
  readonly #log: Logger;
  #state: ReplicatedState;
  #savedIndex: InstanceId;
  #savedAt: MonoMs;
  #sampledIndex: InstanceId;
  #sampledBytes = 0;
  #samples: Sample[] = [];
  #saving: Promise<void> | null = null;

  readonly #clock: Clock;
  readonly #pace: UpkeepPace;

  constructor(store: LogStore, log: Logger, clock: Clock, state: ReplicatedState, pace: UpkeepPace = DEFAULT_PACE) {
    this.#store = store;
    this.#log = log;
    this.#state = state;
    this.#savedIndex = state.appliedIndex;
    this.#sampledIndex = state.appliedIndex;
    this.#clock = clock;
    this.#pace = pace;
    this.#savedAt = clock.now();
  }

  /** Up to here a state was handed to the store. */
  get savedIndex(): InstanceId {
    return this.#savedIndex;
  }

  /** A snapshot took the place of what was applied so far; the store has its state already. */
  installed(state: ReplicatedState): void {
    this.#state = state;
    this.#savedIndex = state.appliedIndex;
    this.#sampledIndex = state.appliedIndex;
    this.#sampledBytes = 0;
    this.#samples = [];
  }

  applied(state: ReplicatedState, bytes: number, now: MonoMs): void {
    this.#state = state;
    this.#sampledBytes += bytes;
    const due =
      state.appliedIndex - this.#sampledIndex >= this.#pace.sampleInstances || this.#sampledBytes >= SAMPLE_EVERY_BYTES;
    if (due && state.chunk === null) {
      const instance = instanceId(state.appliedIndex + 1);
      this.#samples.push({ instance, json: stateToJson(state), wallMs: this.#clock.wall() });
      this.#sampledIndex = state.appliedIndex;
      this.#sampledBytes = 0;
    }
    if (state.appliedIndex - this.#savedIndex >= SAVE_EVERY_APPLIES) this.#save(now);
    else this.tick(now);
  }

  tick(now: MonoMs): void {
    if (now - this.#savedAt >= SAVE_EVERY_MS && this.#state.appliedIndex > this.#savedIndex) this.#save(now);
  }

  /** The last state, on a clean shutdown. */
  async close(now: MonoMs): Promise<void> {
    await this.#saving;
    if (this.#state.appliedIndex > this.#savedIndex || this.#samples.length > 0) {
      this.#save(now);
      await this.#saving;
    }
  }

  #save(now: MonoMs): void {
    if (this.#saving !== null) return;
    const state = this.#state;
    const samples = this.#samples;
    this.#samples = [];
    this.#savedIndex = state.appliedIndex;
    this.#savedAt = now;
    this.#saving = this.#store
      .saveState({ appliedIndex: state.appliedIndex, json: stateToJson(state) }, samples)
      .catch((error: unknown) => {
        this.#log.error('save applied state failed', { reason: reasonOf(error), appliedIndex: state.appliedIndex });
      })
      .finally(() => {
        this.#saving = null;
      });
  }
}
