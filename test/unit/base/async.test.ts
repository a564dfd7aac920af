import { expect, it } from 'vitest';
import { unlessAborted } from '../../../base/async.ts';

it('is the work, as long as the signal does not fire', async () => {
  const { signal } = new AbortController();
  expect(await unlessAborted(signal, Promise.resolve(7))).toBe(7);
  await expect(unlessAborted(signal, Promise.reject(new Error('no')))).rejects.toThrow('no');
});

it('ends when the signal fires, whatever becomes of the work', async () => {
  const abort = new AbortController();
  const work = Promise.withResolvers<number>();
  const waiting = unlessAborted(abort.signal, work.promise);
  abort.abort();
  await expect(waiting).rejects.toMatchObject({ code: 'CANCELLED' });
  work.reject(new Error('an orphan: nobody hears of it'));
  await expect(unlessAborted(abort.signal, Promise.resolve(1)), 'fired before').rejects.toMatchObject({
    code: 'CANCELLED',
  });
});
