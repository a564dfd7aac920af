import { afterAll, beforeAll, expect, test } from 'vitest';
import { eventually } from '../../support/wait.ts';
import { TestNode } from './test-node.ts';

let node: TestNode;
beforeAll(async () => {
  node = await TestNode.start();
});
afterAll(async () => {
  await node?.[Symbol.asyncDispose]();
});

test('kill -9 while an XA PREPARE waits for its ack: nothing of it is left', async () => {
  await node.isMaster();
  const root = await node.root();
  for (const statement of ['CREATE DATABASE xa', 'CREATE TABLE xa.t (id INT PRIMARY KEY)']) await root.query(statement);
  const before = node.store.gtidSet;
  let open = (): void => {};
  node.store.log.gate = new Promise<void>((resolve) => {
    open = resolve;
  });
  for (const statement of ["XA START 'x'", 'INSERT INTO xa.t VALUES (1)', "XA END 'x'"]) await root.query(statement);
  const waiting = node.hang(root, "XA PREPARE 'x'");
  await node.waiters(1);
  node.kill9();
  const { epoch } = node.store.log.state;
  await eventually('epoch released', 10_000, () => !node.store.log.state.open || node.store.log.state.epoch > epoch);
  node.store.log.gate = null;
  open();
  await node.isMaster();
  expect(waiting.done).toBe(false);
  expect(await node.one('SELECT @@GLOBAL.gtid_executed')).toBe(before);
  const admin = await node.admin();
  const [prepared] = await admin.query('XA RECOVER');
  expect(prepared).toEqual([]);
  expect(await node.one('SELECT COUNT(*) FROM xa.t')).toBe('0');
});
