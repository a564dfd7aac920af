import { describe, expect, it } from 'vitest';
import { instanceId } from '../../../base/brands.ts';
import { fromWire, toWire } from '../../../binlogsvr/peer-codec.ts';
import type { PeerMessage } from '../../../binlogsvr/peer-transport.ts';
import { B1 } from './log-store-values.ts';
import { decodeMessages, encodeMessage, MESSAGES } from './peer-messages.ts';

const nameOf = (message: PeerMessage): string =>
  message.kind === 'recalled' ? `recalled: ${message.holding.kind}` : message.kind;
const named = MESSAGES.map((message) => [nameOf(message), message] as const);

/** What comes out of these bytes; an error is the loud way. */
function heard(bytes: Uint8Array): readonly (PeerMessage | null)[] | 'refused' {
  try {
    return decodeMessages(bytes);
  } catch {
    return 'refused';
  }
}

describe('messages between peers', () => {
  it.each(named)('%s arrives as it was sent', (_, message) => {
    expect(decodeMessages(encodeMessage(message))).toEqual([message]);
  });

  it.each(named)('%s cut at any byte is refused, but between two messages', (_, message) => {
    const bytes = encodeMessage(message);
    for (let at = 1; at < bytes.length; at += 1) expect(heard(bytes.subarray(0, at)), `cut at ${at}`).toBe('refused');
    expect(heard(bytes.subarray(0, 0))).toEqual([]);
  });

  it('what a newer peer says beyond this version is passed over', () => {
    expect(fromWire({})).toBeNull();
    expect(fromWire({ body: 'later', later: { instance: 1 } })).toBeNull();
  });

  it('no flipped bit makes an acceptor say that it holds something else, or nothing', () => {
    const answers = MESSAGES.filter((message) => message.kind === 'recalled');
    let refused = 0;
    for (const sent of answers) {
      const bytes = encodeMessage(sent);
      for (let bit = 0; bit < bytes.length * 8; bit += 1) {
        const damaged = Buffer.from(bytes);
        damaged[bit >> 3] = (damaged[bit >> 3] as number) ^ (1 << (bit & 7));
        const found = heard(damaged);
        if (found === 'refused') refused += 1;
        for (const message of found === 'refused' ? [] : found) {
          if (message?.kind !== 'recalled' || message.holding.kind === 'unknown') continue;
          expect(message, `bit ${bit} of ${nameOf(sent)}`).toEqual(sent);
        }
      }
    }
    expect(refused).toBeGreaterThan(100);
  });

  it('an answer about another instance than its value is refused', () => {
    const wire = toWire({
      kind: 'recalled',
      instance: instanceId(7),
      holding: { kind: 'accepted', ballot: B1, value: Buffer.from('v') },
    });
    const body = { ...(wire.recalled as object), instance: 8 };
    expect(() => fromWire({ body: 'recalled', recalled: body })).toThrow('7 in the answer about 8');
  });
});
