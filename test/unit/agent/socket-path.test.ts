import { describe, expect, test } from 'vitest';
import { SOCKET_PATH_BYTES_MAX, socketPathFor } from '../../../agent/host/socket-path.ts';

describe('socketPathFor', () => {
  test('in the run directory while it fits', () => {
    expect(socketPathFor('/d/run')).toBe('/d/run/mysqld.sock');
    const longest = `/${'x'.repeat(SOCKET_PATH_BYTES_MAX - 1 - '/mysqld.sock'.length)}`;
    expect(socketPathFor(longest)).toBe(`${longest}/mysqld.sock`);
  });

  test('a short, steady name in a private folder when it does not; bytes count, not characters', () => {
    const long = `/${'ä'.repeat(60)}`;
    const path = socketPathFor(long, { tmp: '/tmp', uid: 7 });
    expect(path).toMatch(/^\/tmp\/phxsql-7\/[0-9a-f]{16}\.sock$/);
    expect(socketPathFor(long, { tmp: '/tmp', uid: 7 })).toBe(path);
    expect(socketPathFor(`${long}b`, { tmp: '/tmp', uid: 7 })).not.toBe(path);
  });

  test('no short path either: said before anything is started', () => {
    expect(() => socketPathFor(`/${'x'.repeat(200)}`, { tmp: `/${'t'.repeat(100)}`, uid: 7 })).toThrow(
      /longer than 107 bytes/,
    );
  });
});
