import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { monoMs } from '../../../base/brands.ts';
import type { View } from '../../../proto/binlogsvr-types.ts';
import { type ClusterEvent, initialKnown, learn, leaseHolderOf, proxyViewOf } from '../../../proxy/master-view.ts';
import { nodes, view } from './fakes.ts';

/** proxy/testdata/*.json: what is reported at a time, and what the proxy then believes. A `reason` is a part of the text. */
type Story = Readonly<{ story: string; self: number; phases: readonly Phase[] }>;
type Phase = Readonly<{
  at: number;
  /** Wall clock, when it does not run with the monotonic one. */
  wallAt?: number;
  note?: string;
  events?: readonly Readonly<{
    view?: Partial<View> & { node: number };
    lost?: number;
    lease?: Readonly<{ node: number; epoch: number; remainingMs: number; askedAt: number }>;
  }>[];
  expect: Readonly<Record<string, unknown>>;
}>;

const WALL_OFFSET = 1_000_000;
const directory = new URL('../../../proxy/testdata/', import.meta.url);

function toEvent(raw: NonNullable<Phase['events']>[number], at: number): ClusterEvent {
  if (raw.view !== undefined) return { kind: 'view', at: monoMs(at), view: view(raw.view) };
  if (raw.lost !== undefined) return { kind: 'lost', at: monoMs(at), node: raw.lost };
  if (raw.lease === undefined) throw new Error(`unknown event ${JSON.stringify(raw)}`);
  const { askedAt, ...reply } = raw.lease;
  return { kind: 'lease', askedAt: monoMs(askedAt), askedWall: askedAt + WALL_OFFSET, reply };
}

describe('master view', () => {
  for (const file of readdirSync(directory).filter((name) => name.endsWith('.json'))) {
    const { story, self, phases } = JSON.parse(readFileSync(new URL(file, directory), 'utf8')) as Story;
    it(`${file}: ${story}`, () => {
      let known = initialKnown(nodes(3), self);
      for (const phase of phases) {
        for (const raw of phase.events ?? []) known = learn(known, toEvent(raw, phase.at));
        const seen = proxyViewOf(known, monoMs(phase.at), phase.wallAt ?? phase.at + WALL_OFFSET);
        const facts: Record<string, unknown> = {
          ...seen,
          master: seen.master?.node ?? null,
          slaves: seen.slaves.map((slave) => slave.node),
          local: seen.slaves.find((slave) => slave.local)?.node ?? null,
          ask: leaseHolderOf(known),
        };
        const where = `at ${phase.at}${phase.note === undefined ? '' : ` (${phase.note})`}`;
        for (const [name, wanted] of Object.entries(phase.expect)) {
          if (name === 'reason' && wanted !== '') expect(seen.reason, where).toContain(wanted);
          else if (name === 'lag') {
            for (const [node, lagMs] of Object.entries(wanted as Record<string, number>)) {
              const slave = seen.slaves.find((candidate) => candidate.node === Number(node));
              expect(slave?.lagMs, `${where}: lag of node ${node}`).toBe(lagMs);
            }
          } else expect(facts[name], `${where}: ${name}`).toEqual(wanted);
        }
      }
    });
  }
});
