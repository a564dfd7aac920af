/**
 * When to start a process again that died: at once the first time, then 100 ms, 200 ms ... 2 s, so that one that cannot
 * start does not eat the machine; a long life wipes the slate clean.
 */
export const RESTART_DELAY_MS_MIN = 100;
export const RESTART_DELAY_MS_MAX = 2000;
export const LIFE_MS_GOOD = 30_000;

export type RestartState = Readonly<{ deathsInARow: number }>;

export const NO_DEATHS: RestartState = { deathsInARow: 0 };

export function afterDeath(state: RestartState, livedMs: number): { state: RestartState; delayMs: number } {
  const before = livedMs >= LIFE_MS_GOOD ? 0 : state.deathsInARow;
  const delayMs =
    before === 0 ? 0 : Math.min(RESTART_DELAY_MS_MAX, RESTART_DELAY_MS_MIN * 2 ** Math.min(before - 1, 16));
  return { state: { deathsInARow: before + 1 }, delayMs };
}
