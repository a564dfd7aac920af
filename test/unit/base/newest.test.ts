import { expect, it } from 'vitest';
import { Newest } from '../../../base/newest.ts';

function reading<T>(newest: Newest<T>) {
  const abort = new AbortController();
  let stops = 0;
  const values = newest.read(abort.signal, () => {
    stops += 1;
  });
  return { abort, values, stops: () => stops };
}

it('hands out what is pushed, and waits for more', async () => {
  const newest = new Newest<number>();
  const { values } = reading(newest);
  newest.push(1);
  expect(await values.next()).toEqual({ done: false, value: 1 });
  const next = values.next();
  newest.push(2);
  expect(await next).toEqual({ done: false, value: 2 });
});

it('drops what a slow reader did not get round to, not a value that is null', async () => {
  const newest = new Newest<number | null>();
  const { values } = reading(newest);
  for (const value of [1, 2, 3]) newest.push(value);
  expect((await values.next()).value).toBe(3);
  newest.push(null);
  expect(await values.next()).toEqual({ done: false, value: null });
});

it('ends with the first error, behind the value before it', async () => {
  const newest = new Newest<number>();
  const { values, stops } = reading(newest);
  newest.push(1);
  newest.end(new Error('first'));
  newest.end(new Error('second'));
  expect((await values.next()).value).toBe(1);
  await expect(values.next()).rejects.toThrow('first');
  expect(stops()).toBe(1);
});

it('wakes a reader that waits when it ends, or when the signal fires, which is no error', async () => {
  const ended = new Newest<number>();
  const waiting = reading(ended).values.next();
  ended.end(new Error('over'));
  await expect(waiting).rejects.toThrow('over');
  const { abort, values, stops } = reading(new Newest<number>());
  const next = values.next();
  abort.abort();
  expect(stops(), 'told at once').toBe(1);
  expect(await next).toEqual({ done: true, value: undefined });
});

it('a signal that fires while the reader is busy stops at once, and nothing more is handed out', async () => {
  const newest = new Newest<number>();
  const { abort, values, stops } = reading(newest);
  newest.push(1);
  await values.next();
  newest.push(2);
  abort.abort();
  expect(stops()).toBe(1);
  expect((await values.next()).done).toBe(true);
});

it('a signal that has fired already hands out nothing; a reader that leaves is told of', async () => {
  const late = reading(new Newest<number>());
  late.abort.abort();
  expect((await late.values.next()).done).toBe(true);
  expect(late.stops()).toBe(1);
  const newest = new Newest<number>();
  const { values, stops } = reading(newest);
  newest.push(1);
  for await (const value of values) {
    expect(value).toBe(1);
    break;
  }
  expect(stops()).toBe(1);
});
