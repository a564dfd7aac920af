/**
 * `npm run evidence [-- PIECE ...] [--minutes M]`: the long runs, in pieces. Each piece appends one JSON line per run to
 * docs/evidence/PIECE.jsonl with commit, seed and duration; a piece that has reached its target is skipped, an interrupted
 * one goes on where the lines end. Ctrl-C loses at most the run under way.
 */
import { execFileSync } from 'node:child_process';
import { appendFileSync, existsSync, mkdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { PIECES, type Piece } from './pieces.ts';

const FOLDER = fileURLToPath(new URL('../../docs/evidence/', import.meta.url));

type Line = Readonly<{
  piece: string;
  commit: string;
  seed: number;
  units: number;
  startedAt: string;
  durationMs: number;
  ok: boolean;
  detail: string;
}>;

function recorded(piece: Piece): Line[] {
  const file = `${FOLDER}${piece.name}.jsonl`;
  if (!existsSync(file)) return [];
  const lines = readFileSync(file, 'utf8').split('\n');
  return lines.filter((line) => line !== '').map((line) => JSON.parse(line) as Line);
}

function commitNow(): string {
  const head = execFileSync('git', ['rev-parse', 'HEAD'], { encoding: 'utf8' }).trim();
  const dirty =
    execFileSync('git', ['status', '--porcelain', '--untracked-files=no'], { encoding: 'utf8' }).trim() !== '';
  return dirty ? `${head}+changes` : head;
}

const { values, positionals } = parseArgs({
  options: { minutes: { type: 'string' }, help: { type: 'boolean' } },
  allowPositionals: true,
});
const unknown = positionals.filter((name) => !PIECES.some((piece) => piece.name === name));
if (values.help === true || unknown.length > 0) {
  if (unknown.length > 0) console.error(`unknown piece: ${unknown.join(', ')}`);
  console.log(
    `usage: npm run evidence [-- PIECE ...] [--minutes M]\n${PIECES.map((p) => `  ${p.name.padEnd(12)} ${p.what}; target ${p.target} ${p.unit}`).join('\n')}`,
  );
  process.exit(unknown.length > 0 ? 2 : 0);
}

mkdirSync(FOLDER, { recursive: true });
const deadline = Date.now() + Number(values.minutes ?? 24 * 60) * 60_000;
let failed = false;
for (const piece of PIECES.filter(({ name }) => positionals.length === 0 || positionals.includes(name))) {
  let lines = recorded(piece);
  for (;;) {
    const done = lines.filter((line) => line.ok).reduce((sum, line) => sum + line.units, 0);
    if (done >= piece.target || Date.now() >= deadline) {
      console.log(`${piece.name}: ${done} of ${piece.target} ${piece.unit}`);
      break;
    }
    const seed = lines.length + 1;
    const started = new Date();
    let ok = true;
    let detail = '';
    try {
      detail = await piece.run(seed);
    } catch (error) {
      ok = false;
      detail = error instanceof Error ? error.message.slice(-2000) : String(error);
    }
    const line: Line = {
      piece: piece.name,
      commit: commitNow(),
      seed,
      units: piece.unitsPerRun,
      startedAt: started.toISOString(),
      durationMs: Date.now() - started.getTime(),
      ok,
      detail,
    };
    appendFileSync(`${FOLDER}${piece.name}.jsonl`, `${JSON.stringify(line)}\n`);
    lines = [...lines, line];
    console.log(
      `${piece.name} seed ${seed}: ${ok ? 'ok' : `FAILED ${detail}`} (${line.durationMs} ms, ${done + (ok ? piece.unitsPerRun : 0)} of ${piece.target})`,
    );
    if (!ok) {
      failed = true;
      break;
    }
  }
}
process.exitCode = failed ? 1 : 0;
