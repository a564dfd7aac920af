import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { basename, dirname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

/**
 * Style as a test: what style rules a machine can hold. Each rule is a function from a file to its faults, and has a
 * self-test that shows it finds what it is for.
 */
type Source = Readonly<{ path: string; text: string }>;
type Rule = (file: Source) => readonly string[];

const ROOT = fileURLToPath(new URL('..', import.meta.url));

/** What git has or would take: not node_modules, dist, or what is ignored. */
function listFiles(): readonly string[] {
  const output = execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard', '-z'], { cwd: ROOT });
  return [...new Set(output.toString().split('\0'))].filter((path) => path !== '');
}

function readSource(path: string): Source | null {
  try {
    const bytes = readFileSync(join(ROOT, path));
    return bytes.subarray(0, 8192).includes(0) ? null : { path, text: bytes.toString() };
  } catch {
    return null; // deleted, not yet committed
  }
}

const isTypeScript = ({ path }: Source): boolean => path.endsWith('.ts');

// --- who may import whom -------------------------------------------------------------------------------------------

/** Folder -> folders it may import, itself always. Arrows point down only; two components meet only through proto. */
const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  base: [],
  proto: ['base'],
  mysql: ['base'],
  deploy: ['base'],
  binlogsvr: ['base', 'proto', 'mysql'],
  agent: ['base', 'proto', 'mysql'],
  sync: ['base', 'proto', 'mysql'],
  proxy: ['base', 'proto', 'mysql'],
  cli: ['base', 'proto', 'mysql', 'deploy', 'binlogsvr', 'agent', 'sync', 'proxy'],
};

/** Parts that must be pure: which folders and which packages they may import. They see no clock, chance or I/O. */
const PURE: readonly Readonly<{ part: RegExp; folders: readonly string[]; packages: readonly string[] }>[] = [
  { part: /^binlogsvr\/paxos\//, folders: ['base', 'proto', 'binlogsvr/paxos'], packages: [] },
  {
    part: /^binlogsvr\/(state-machine|state-types|membership)\.ts$/,
    folders: ['base', 'mysql', 'binlogsvr'],
    packages: ['node:zlib', 'zod'],
  },
];

const IMPURE = /\b(Date\.now|new Date|performance\.now|Math\.random|process\.|setTimeout|setInterval|setImmediate)\b/;

type Import = Readonly<{ from: string; typeOnly: boolean }>;

function importsOf(text: string): readonly Import[] {
  const found: Import[] = [];
  for (const match of text.matchAll(
    /^\s*(?:import|export)\s+(type\s+)?(?:[\w*{][^;'"]*?\sfrom\s+)?['"]([^'"]+)['"]/gm,
  )) {
    found.push({ from: match[2] ?? '', typeOnly: match[1] !== undefined });
  }
  for (const match of text.matchAll(/\bimport\(\s*['"]([^'"]+)['"]/g))
    found.push({ from: match[1] ?? '', typeOnly: false });
  return found;
}

const targetOf = (file: Source, from: string): string => normalize(join(dirname(file.path), from));
const folderOf = (path: string): string => path.split('/')[0] ?? '';
const isRelative = (from: string): boolean => from.startsWith('.');

const folderImports: Rule = (file) => {
  if (!isTypeScript(file)) return [];
  const allowed = MAY_IMPORT[folderOf(file.path)];
  if (allowed === undefined) return [];
  return importsOf(file.text)
    .filter(({ from }) => isRelative(from))
    .map(({ from }) => targetOf(file, from))
    .filter((target) => folderOf(target) !== folderOf(file.path) && !allowed.includes(folderOf(target)))
    .map((target) => `imports ${target}`);
};

const pureParts: Rule = (file) => {
  const rule = PURE.find(({ part }) => part.test(file.path));
  if (rule === undefined) return [];
  const faults = importsOf(file.text)
    .filter(({ from, typeOnly }) => {
      if (!isRelative(from)) return !rule.packages.includes(from);
      const target = targetOf(file, from);
      return !typeOnly && !rule.folders.some((folder) => target.startsWith(`${folder}/`));
    })
    .map(({ from }) => `is pure but imports ${from}`);
  const impure = IMPURE.exec(withoutComments(file.text));
  return impure === null ? faults : [...faults, `is pure but uses ${impure[0]}`];
};

const importForm: Rule = (file) => {
  if (!isTypeScript(file)) return [];
  return importsOf(file.text)
    .filter(({ from }) => (isRelative(from) ? !/\.(ts|json)$/.test(from) : isBuiltinWithoutPrefix(from)))
    .map(({ from }) => `imports ${from}: write its suffix, or node:`);
};

const isBuiltinWithoutPrefix = (from: string): boolean =>
  /^(fs|path|os|net|crypto|child_process|util|events|stream|zlib|url)(\/|$)/.test(from);

const withoutComments = (text: string): string =>
  text.replace(/\/\*[\s\S]*?\*\//g, '').replace(/(^|\s)\/\/.*$/gm, '$1');

// --- the shape of a file -------------------------------------------------------------------------------------------

const LINES_MAX = 500;
/** Longer ones that were there when the rule came, with their length: they may only shrink. */
const LONG_FILES: Readonly<Record<string, number>> = {};

const fileLength: Rule = (file) => {
  if (!isTypeScript(file)) return [];
  const lines = file.text.split('\n').length - 1;
  const most = LONG_FILES[file.path] ?? LINES_MAX;
  return lines > most ? [`has ${lines} lines, at most ${most} allowed: it holds more than one concept`] : [];
};

const noDefaultExport: Rule = (file) =>
  isTypeScript(file) && file.path !== 'vitest.config.ts' && /^\s*export\s+default\b/m.test(file.text)
    ? ['has a default export']
    : [];

const noBarrel: Rule = (file) => {
  if (!isTypeScript(file)) return [];
  const again = /^\s*export\s+(type\s+)?(\*|\{[^}]*\})\s*(as\s+\w+\s*)?from\b/m.test(file.text);
  return again || basename(file.path) === 'index.ts' ? ['exports what another file defines: import it from there'] : [];
};

const noFixme: Rule = (file) =>
  new RegExp(`\\b(FIX${''}ME|XX${''}X)\\b`).test(file.text) ? ['says that it is not finished'] : [];

/** That nothing happens can only be waited for. */
const MAY_PAUSE: readonly string[] = ['test/e2e/cluster/disaster.test.ts'];

/** A wait names a condition (test/support/ has the means); a time alone is too short on one machine, too long on the next. */
const noSleepInTests: Rule = (file) => {
  if (!file.path.endsWith('.test.ts') || MAY_PAUSE.includes(file.path)) return [];
  const code = withoutComments(file.text);
  const sleep = /new Promise(<[^>]*>)?\(\s*\(?\s*(\w+)\s*\)?\s*=>\s*(?:void\s+)?setTimeout\(\s*\2\b/.test(code);
  return sleep || /from 'node:timers\/promises'/.test(code) ? ['sleeps: wait for a condition instead'] : [];
};

// --- words that must not be here -----------------------------------------------------------------------------------

/** Written in pieces, so that this file passes its own rule. */
const word = (...parts: readonly string[]): string => parts.join('');
const FORBIDDEN: readonly (readonly [RegExp, string])[] = [
  [new RegExp(`${word('/wo', 'rk/')}(main|shared|\\.|[a-z]+/)`), 'a path of the machine it was written on'],
  [new RegExp(word('\\.', '(lib', 'rary|mir', 'ror)/')), 'a path of the machine it was written on'],
  [new RegExp(`\\b${word('regi', 'stry')}\\.[a-z0-9-]+\\.[a-z]{2,}\\b`, 'i'), 'the host name of a package registry'],
  [
    new RegExp(
      `https?://[^\\s/'"]*\\b(${word('arti', 'factory')}|${word('ne', 'xus')}|${word('vera', 'ccio')})\\b`,
      'i',
    ),
    'the host name of a package registry',
  ],
  [
    new RegExp(`\\b${word('pypi')}\\.(org|python)|\\b${word('crates')}\\.io\\b|\\b${word('proxy')}\\.golang\\b`, 'i'),
    'the host name of a package registry',
  ],
];

const forbiddenWords: Rule = (file) =>
  FORBIDDEN.flatMap(([pattern, what]) => {
    const found = pattern.exec(file.text);
    return found === null ? [] : [`names ${what}: ${found[0]}`];
  });

const RULES: Readonly<Record<string, Rule>> = {
  'imports only folders below it': folderImports,
  'pure parts touch nothing': pureParts,
  'imports name the file': importForm,
  'a file is short': fileLength,
  'no default exports': noDefaultExport,
  'no barrels': noBarrel,
  'nothing unfinished': noFixme,
  'tests do not sleep': noSleepInTests,
  'no forbidden words': forbiddenWords,
};

describe('every file', () => {
  const files = listFiles()
    .map(readSource)
    .filter((file) => file !== null);

  it('is looked at', () => {
    expect(files.filter(isTypeScript).length).toBeGreaterThan(50);
  });

  it.each(Object.entries(RULES))('%s', (_, rule) => {
    expect(files.flatMap((file) => rule(file).map((fault) => `${file.path} ${fault}`))).toEqual([]);
  });

  it('is where MAY_IMPORT knows its folder', () => {
    const folders = new Set(
      files
        .filter(isTypeScript)
        .map(({ path }) => path)
        .filter((path) => path.includes('/'))
        .map(folderOf),
    );
    expect([...folders].filter((folder) => !(folder in MAY_IMPORT) && !['test', 'bench'].includes(folder))).toEqual([]);
  });

  it('that was long has not grown, and leaves the list when it is short', () => {
    const lengths = new Map(files.map(({ path, text }) => [path, text.split('\n').length - 1]));
    const stale = Object.entries(LONG_FILES).filter(
      ([path, most]) => (lengths.get(path) ?? 0) < Math.max(most, LINES_MAX + 1),
    );
    expect(stale).toEqual([]);
  });
});

describe('the rules themselves', () => {
  const file = (path: string, text: string): Source => ({ path, text });
  const long = 'x;\n'.repeat(LINES_MAX + 1);
  const sleep = word('await new Promise((resolve) => set', 'Timeout(resolve, 100));');

  const table: readonly (readonly [string, Rule, Source, boolean])[] = [
    ['agent -> base', folderImports, file('agent/a.ts', "import { x } from '../base/x.ts';"), true],
    ['agent -> its own', folderImports, file('agent/a.ts', "import { x } from './x.ts';"), true],
    ['agent -> proxy', folderImports, file('agent/a.ts', "import { x } from '../proxy/x.ts';"), false],
    [
      'agent -> binlogsvr, a type',
      folderImports,
      file('agent/a.ts', "import type { X } from '../binlogsvr/x.ts';"),
      false,
    ],
    ['base -> mysql', folderImports, file('base/a.ts', "import '../mysql/x.ts';"), false],
    ['cli -> test', folderImports, file('cli/commands/a.ts', "import { x } from '../../test/x.ts';"), false],
    ['cli -> agent, later', folderImports, file('cli/commands/a.ts', "await import('../../agent/x.ts')"), true],
    ['mysql -> agent, later', folderImports, file('mysql/a.ts', "await import('../agent/x.ts')"), false],
    ['sync -> cli, many lines', folderImports, file('sync/a.ts', "import {\n  x,\n} from '../cli/x.ts';"), false],
    ['proxy re-exports cli', folderImports, file('proxy/a.ts', "export { x } from '../cli/x.ts';"), false],
    ['paxos -> base', pureParts, file('binlogsvr/paxos/a.ts', "import { x } from '../../base/x.ts';"), true],
    ['paxos -> binlogsvr', pureParts, file('binlogsvr/paxos/a.ts', "import { x } from '../store.ts';"), false],
    ['paxos -> node', pureParts, file('binlogsvr/paxos/a.ts', "import { x } from 'node:fs';"), false],
    ['paxos asks the time', pureParts, file('binlogsvr/paxos/a.ts', `const t = ${word('Date', '.now')}();`), false],
    ['paxos speaks of time', pureParts, file('binlogsvr/paxos/a.ts', `// never ${word('Date', '.now')}()`), true],
    [
      'state machine -> mysql',
      pureParts,
      file('binlogsvr/state-machine.ts', "import { G } from '../mysql/gtid-set.ts';"),
      true,
    ],
    ['state machine -> node:fs', pureParts, file('binlogsvr/state-machine.ts', "import { G } from 'node:fs';"), false],
    ['no suffix', importForm, file('base/a.ts', "import { x } from './x';"), false],
    ['no node:', importForm, file('base/a.ts', "import { x } from 'fs';"), false],
    ['a suffix', importForm, file('base/a.ts', "import { x } from './x.ts';"), true],
    ['long', fileLength, file('base/a.ts', long), false],
    ['long text', fileLength, file('docs/a.md', long), true],
    ['default export', noDefaultExport, file('base/a.ts', 'export default 1;'), false],
    ['named export', noDefaultExport, file('base/a.ts', 'export const a = 1;'), true],
    ['barrel', noBarrel, file('base/a.ts', "export { x } from './x.ts';"), false],
    ['index', noBarrel, file('base/index.ts', ''), false],
    ['unfinished', noFixme, file('base/a.ts', `// ${word('FIX', 'ME')} later`), false],
    ['sleep in a test', noSleepInTests, file('test/unit/a.test.ts', sleep), false],
    ['timeout elsewhere', noSleepInTests, file('cli/a.ts', sleep), true],
    ['workplace', forbiddenWords, file('a.md', word('see /wo', 'rk/main/x')), false],
    ['network', forbiddenWords, file('a.md', 'network/main'), true],
    ['registry host', forbiddenWords, file('a.json', word('https://regi', 'stry.npmjs.org/x')), false],
    ['the word alone', forbiddenWords, file('a.md', 'a package registry'), true],
  ];
  it.each(table)('%s', (_, rule, source, clean) => {
    expect(rule(source).length === 0).toBe(clean);
  });
});
