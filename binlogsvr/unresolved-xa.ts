import { z } from 'zod';
import { type InstanceId, instanceId, NO_INSTANCE } from '../base/brands.ts';
import type { XaStep } from '../mysql/xa.ts';

/** XA transactions followed at a time. More can be prepared: they are counted, and nothing is concluded from their absence. */
export const XA_FOLLOWED_MAX = 512;

/** Prepared under `gtid`, whose first chunk is at `from`. */
export type PreparedXa = Readonly<{ xid: string; gtid: string; from: InstanceId }>;

/**
 * The XA transactions that are prepared in the log and neither committed nor rolled back: MySQL forgets them when a server
 * without a binlog of its own restarts, and would resolve them without logging that (protocol-findings 1). Immutable.
 */
export type UnresolvedXa = Readonly<{
  /** Oldest first. */
  prepared: readonly PreparedXa[];
  /** Prepared when the list was full and still unresolved, and where the first of them is; 0. */
  beyond: number;
  beyondFrom: InstanceId;
  /** GTID of the newest transaction that prepared, committed or rolled back one; '' = none. */
  last: string;
  /** Others may be prepared: from when logs did not tell, or in a compressed transaction nobody could look into. */
  incomplete: boolean;
  /** In the file the log is in, each transaction says what it does to XA. */
  told: boolean;
}>;

export const NO_XA: UnresolvedXa = {
  prepared: [],
  beyond: 0,
  beyondFrom: NO_INSTANCE,
  last: '',
  incomplete: false,
  told: false,
};

/** A file of the master begins. */
export function inXaFile(xa: UnresolvedXa, told: boolean): UnresolvedXa {
  return xa.told === told ? xa : { ...xa, told };
}

/** Transaction `gtid`, whose first instance is `from`, is complete. */
export function afterXaStep(xa: UnresolvedXa, step: XaStep | undefined, gtid: string, from: InstanceId): UnresolvedXa {
  if (step === undefined) return xa.told || xa.incomplete ? xa : { ...xa, incomplete: true };
  const others = xa.prepared.filter(({ xid }) => xid !== step.xid);
  const after = { ...xa, last: gtid };
  switch (step.kind) {
    case 'unclear':
      return { ...after, incomplete: true };
    case 'prepare':
      if (others.length < XA_FOLLOWED_MAX) return { ...after, prepared: [...others, { xid: step.xid, gtid, from }] };
      return { ...after, beyond: xa.beyond + 1, beyondFrom: xa.beyond === 0 ? from : xa.beyondFrom };
    default: {
      if (others.length < xa.prepared.length) return { ...after, prepared: others };
      const beyond = Math.max(0, xa.beyond - 1);
      return { ...after, beyond, beyondFrom: beyond === 0 ? NO_INSTANCE : xa.beyondFrom };
    }
  }
}

/** Whether every XA transaction that may be prepared is in the list. */
export function knowsAllXa({ beyond, incomplete }: UnresolvedXa): boolean {
  return beyond === 0 && !incomplete;
}

/** The oldest one, and where the log has to begin for a MySQL that forgot it; null: none. */
export function oldestXa({
  prepared,
  beyond,
  beyondFrom,
}: UnresolvedXa): Readonly<{ xid: string; from: InstanceId }> | null {
  return prepared[0] ?? (beyond > 0 ? { xid: 'one that is not followed', from: beyondFrom } : null);
}

const index = z.number().int().nonnegative().transform(instanceId);

export const UnresolvedXaJson = z.object({
  prepared: z.array(z.object({ xid: z.string(), gtid: z.string(), from: index })).max(XA_FOLLOWED_MAX),
  beyond: z.number().int().nonnegative(),
  beyondFrom: index,
  last: z.string(),
  incomplete: z.boolean(),
  told: z.boolean(),
});

/** States from before there was any of this; who has seen no transaction has missed none. */
export function xaFromSaved(saved: UnresolvedXa | undefined, lastTransactionIndex: InstanceId): UnresolvedXa {
  return saved ?? { ...NO_XA, incomplete: lastTransactionIndex > 0 };
}

/** undefined: what xaFromSaved makes of that, so that such a state is written as it was. */
export function xaToSave(xa: UnresolvedXa, lastTransactionIndex: InstanceId): UnresolvedXa | undefined {
  return xa.last === '' && !xa.told && xa.incomplete === lastTransactionIndex > 0 ? undefined : xa;
}
