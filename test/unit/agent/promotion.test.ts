import { expect, it } from 'vitest';
import { type AgentContext, Doubt } from '../../../agent/context.ts';
import { openForWrites } from '../../../agent/promotion.ts';
import { nodeId } from '../../../base/brands.ts';
import { silentLogger } from '../../../base/ports.ts';

/** A mysqld where the statements from `stuck` on wait for an ack, as they do when nothing takes the log's answer. */
function opening(stuck: string) {
  const said: string[] = [];
  const answers = Promise.withResolvers<void>();
  const work = async (statements: readonly string[]): Promise<object[][]> => {
    said.push(...statements);
    if (statements.some((statement) => statement.startsWith(stuck))) await answers.promise;
    return [[], []];
  };
  const context = {
    admin: { work },
    server: { admin: { work }, markOpened: async () => {}, rootPassword: async () => 'password' },
    watch: { pid: 1, opened: () => {} },
    views: { view: { open: true, epoch: 3, master: 1 } },
    options: { self: { id: nodeId(1) }, security: { clusterSecret: 'a secret', tls: null } },
    log: silentLogger,
    say: () => {},
  } as unknown as AgentContext;
  return { context, said, answer: answers.resolve };
}

it('a master that opens is in doubt as soon as its epoch is over, though an account statement still waits for its ack', async () => {
  const { context, said, answer } = opening('CREATE USER');
  const abort = new AbortController();
  const open = openForWrites(context, 3, abort.signal);
  await expect.poll(() => said.at(-1)).toContain('CREATE USER');
  abort.abort();
  await expect(open).rejects.toThrow(Doubt);
  const before = said.length;
  answer();
  await new Promise((resolve) => setImmediate(resolve));
  expect(said.slice(before), 'and nothing more is begun').toEqual([]);
});
