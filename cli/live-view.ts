import type { ClusterStatus } from './status.ts';
import { statusLine, statusText } from './status-text.ts';

/** Live state of a cluster in the foreground: a table redrawn in place on a terminal, else a line per change. */
export class LiveView {
  readonly #out: NodeJS.WriteStream;
  #linesShown = 0;
  #lastLine = '';

  constructor(out: NodeJS.WriteStream) {
    this.#out = out;
  }

  show(status: ClusterStatus): void {
    if (!this.#out.isTTY) {
      const line = statusLine(status);
      if (line !== this.#lastLine) this.#out.write(`${line}\n`);
      this.#lastLine = line;
      return;
    }
    // A terminal that does not know its width says 0.
    const width = this.#out.columns || 80;
    const lines = statusText(status)
      .split('\n')
      .map((line) => (line.length > width ? line.slice(0, width) : line));
    this.#erase();
    this.#out.write(`${lines.join('\n')}\n`);
    this.#linesShown = lines.length;
  }

  /** A line that stays, above the table. */
  say(text: string): void {
    this.#erase();
    this.#out.write(`${text}\n`);
  }

  #erase(): void {
    if (this.#linesShown > 0) this.#out.write(`\x1b[${this.#linesShown}A\x1b[0J`);
    this.#linesShown = 0;
  }
}
