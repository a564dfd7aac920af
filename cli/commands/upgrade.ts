import { PhxError } from '../../base/errors.ts';
import { systemClock } from '../../base/system-clock.ts';
import { createBinlogsvrClient } from '../../proto/binlogsvr-client.ts';
import type { FinalizeOptions } from '../program-operate.ts';
import { rpcAddress, StatusCollector } from '../status-collector.ts';
import { sourceOf } from './status.ts';

const FINALIZE_MS_MAX = 10_000;

/** `phxsql upgrade finalize`: exits 1 if it was refused. @throws PhxError NO_MASTER */
export async function finalizeUpgrade(flags: FinalizeOptions): Promise<void> {
  const source = sourceOf(flags);
  const { master, nodes } = await new StatusCollector(source, systemClock).collect(FINALIZE_MS_MAX);
  const rpc = nodes.find(({ id }) => id === master)?.rpc;
  if (rpc === undefined) {
    throw new PhxError('NO_MASTER', 'finalize upgrade: there is no master', {
      hint: 'phxsql status says what each node waits for',
    });
  }
  const client = createBinlogsvrClient(rpcAddress({ host: rpc.host, rpc: rpc.port }), source.security);
  const { accepted, reason } = await client.finalizeUpgrade(FINALIZE_MS_MAX);
  const text = accepted ? `finalized: ${reason}` : `not finalized: ${reason}`;
  await new Promise<void>((resolve) => process.stdout.write(`${text}\n`, () => resolve()));
  process.exit(accepted ? 0 : 1);
}
