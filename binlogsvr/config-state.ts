import { initialState, stateFromJson, stateToJson } from './state-machine.ts';
import type { ReplicatedState } from './state-types.ts';
import type { LogStore, OpenReport } from './store-port.ts';

const META = 'config-state';

/**
 * The state after a change of the voters is on disk before the change counts here. The applied state alone is not enough:
 * it is written without fsync. If a power cut takes it everywhere, what is left are accepted values nobody knows to be
 * chosen, the change among them; and those who could choose it again, the voters before it, may be gone for good.
 */
export function saveConfigState(store: LogStore, state: ReplicatedState): Promise<void> {
  return store.putMeta(META, stateToJson(state));
}

/** What the replica goes on from: the saved state, or the one after the last change of the voters if that is newer. */
export async function newestState(store: LogStore, report: OpenReport): Promise<ReplicatedState> {
  const applied = report.applied === null ? initialState() : stateFromJson(report.applied.json);
  const json = await store.getMeta(META);
  if (json === null) return applied;
  const config = stateFromJson(json);
  return config.appliedIndex > applied.appliedIndex ? config : applied;
}
