import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it, onTestFinished } from 'vitest';
import { RULES, type Rule, ruleHolds, switchOff } from '../base/rules.ts';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const names = Object.keys(RULES) as Rule[];

/** TypeScript sources by path. */
function sources(): Map<string, string> {
  const args = ['ls-files', '--cached', '--others', '--exclude-standard', '-z', '*.ts'];
  const paths = execFileSync('git', args, { cwd: ROOT }).toString().split('\0');
  const found = new Map<string, string>();
  for (const path of paths) {
    if (path === '' || path === 'base/rules.ts' || path === 'test/rules.test.ts') continue;
    try {
      found.set(path, readFileSync(join(ROOT, path), 'utf8'));
    } catch {
      // deleted, not yet committed
    }
  }
  return found;
}

describe('the rules that can be switched off', () => {
  const files = [...sources()];
  const production = files.filter(([path]) => !/^(test|bench)\//.test(path));

  it('are switched off in tests only', () => {
    expect(production.filter(([, text]) => text.includes('switchOff')).map(([path]) => path)).toEqual([]);
  });

  it.each(names)('%s is held by production code', (rule) => {
    expect(production.some(([, text]) => text.includes(`ruleHolds('${rule}')`))).toBe(true);
  });

  it.each(names)('%s is switched off by a script or a canary, which shows that it is needed', (rule) => {
    const shown = files.filter(([path, text]) => {
      if (!path.startsWith('test/') || !/\b(switchOff|without)\(/.test(text)) return false;
      return text.includes(`'${rule}'`);
    });
    expect(shown.map(([path]) => path)).not.toEqual([]);
  });

  it('hold until switched off, and again when restored', () => {
    expect(names.every(ruleHolds)).toBe(true);
    const restore = switchOff('majority', 'cut-no-less');
    onTestFinished(restore);
    const inner = switchOff('majority', 'cut-no-more');
    expect(names.filter((rule) => !ruleHolds(rule))).toEqual(['majority', 'cut-no-less', 'cut-no-more']);
    inner();
    expect(names.filter((rule) => !ruleHolds(rule))).toEqual(['majority', 'cut-no-less']);
    restore();
    expect(names.every(ruleHolds)).toBe(true);
  });
});
