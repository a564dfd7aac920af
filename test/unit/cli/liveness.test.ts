import { describe, expect, it } from 'vitest';
import {
  asked,
  COMPONENT_PATIENCE,
  HEARD,
  isFrozen,
  type Liveness,
  NOT_ASKED,
  PROXY_PATIENCE,
  SUPERVISOR_PATIENCE,
} from '../../../cli/liveness.ts';

const unansweredSince = (questions: number, from: Liveness): Liveness => {
  let liveness = from;
  for (let i = 0; i < questions; i += 1) liveness = asked(liveness);
  return liveness;
};

describe('liveness', () => {
  it('is lost with one question more than the patience has, in a row', () => {
    const { unansweredMax } = PROXY_PATIENCE;
    expect(isFrozen(unansweredSince(unansweredMax, HEARD), PROXY_PATIENCE)).toBe(false);
    expect(isFrozen(unansweredSince(unansweredMax + 1, HEARD), PROXY_PATIENCE)).toBe(true);
  });

  it('has more patience with a process that has not answered yet', () => {
    expect(isFrozen(unansweredSince(PROXY_PATIENCE.unansweredMax + 1, NOT_ASKED), PROXY_PATIENCE)).toBe(false);
    expect(isFrozen(unansweredSince(PROXY_PATIENCE.startMax + 1, NOT_ASKED), PROXY_PATIENCE)).toBe(true);
  });

  it('never blames a supervisor that has not asked anything', () => {
    expect(isFrozen(unansweredSince(1_000_000, NOT_ASKED), SUPERVISOR_PATIENCE)).toBe(false);
  });

  it('is judged by a supervisor sooner than the supervisor is', () => {
    expect(COMPONENT_PATIENCE.unansweredMax).toBeLessThan(SUPERVISOR_PATIENCE.unansweredMax);
    expect(PROXY_PATIENCE.unansweredMax).toBeLessThanOrEqual(COMPONENT_PATIENCE.unansweredMax);
  });
});
