import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { writeAtomically } from './files.ts';

/**
 * A node whose configuration lists it alone founds its cluster without asking anybody. Others join later, and the file need
 * not change; so if it then loses its store, it must not found a second cluster. A mark outside of the store remembers that
 * there is one, and from then on the node joins.
 */
export class LoneFounder {
  readonly #mark: string;
  readonly #alone: boolean;
  #founded: boolean;

  constructor(dataDir: string, alone: boolean) {
    this.#mark = join(dataDir, 'founded');
    this.#alone = alone;
    this.#founded = existsSync(this.#mark);
  }

  get founded(): boolean {
    return this.#alone && this.#founded;
  }

  /** `baseline`: the log has begun. Nobody can have joined before that is said. */
  look(baseline: boolean): void {
    if (!baseline || !this.#alone || this.#founded) return;
    writeAtomically(
      this.#mark,
      'this node founded a cluster: without its store it joins, and founds none\n',
      'durable',
    );
    this.#founded = true;
  }
}
