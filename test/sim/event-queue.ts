type Event = { readonly at: number; readonly order: number; fire: () => void; cancelled: boolean };

/** Events by time, equal times in the order of insertion: a binary heap. */
export class EventQueue {
  readonly #heap: Event[] = [];
  #order = 0;

  /** The result takes it out again. */
  add(at: number, fire: () => void): () => void {
    this.#order += 1;
    const event: Event = { at, order: this.#order, fire, cancelled: false };
    this.#heap.push(event);
    this.#up(this.#heap.length - 1);
    return () => {
      event.cancelled = true;
      event.fire = nothing;
    };
  }

  /** The earliest event at or before `until`, or null. */
  take(until: number): Event | null {
    for (;;) {
      const first = this.#heap[0];
      if (first === undefined || first.at > until) return null;
      const last = this.#heap.pop() as Event;
      if (last !== first) {
        this.#heap[0] = last;
        this.#down();
      }
      if (!first.cancelled) return first;
    }
  }

  #up(start: number): void {
    const heap = this.#heap;
    const event = heap[start] as Event;
    let i = start;
    while (i > 0) {
      const parent = (i - 1) >> 1;
      const above = heap[parent] as Event;
      if (!before(event, above)) break;
      heap[i] = above;
      i = parent;
    }
    heap[i] = event;
  }

  #down(): void {
    const heap = this.#heap;
    const event = heap[0] as Event;
    let i = 0;
    for (;;) {
      let child = 2 * i + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && before(heap[child + 1] as Event, heap[child] as Event)) child += 1;
      const below = heap[child] as Event;
      if (!before(below, event)) break;
      heap[i] = below;
      i = child;
    }
    heap[i] = event;
  }
}

function before(a: Event, b: Event): boolean {
  return a.at < b.at || (a.at === b.at && a.order < b.order);
}

function nothing(): void {}
