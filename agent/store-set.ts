import type { View } from '../proto/binlogsvr-types.ts';
import type { AgentOptions } from './context.ts';

/** What the local MySQL is compared with: the log's set, and before the log begins the one it will begin with here. */
export function storeSetOf({ foundingSet = '' }: AgentOptions, { baseline, gtidSet }: View): string {
  return baseline ? gtidSet : foundingSet;
}
