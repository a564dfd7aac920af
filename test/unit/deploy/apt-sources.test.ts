import { describe, expect, test } from 'vitest';
import { debianMirrors, parseDeb822Sources, parseOneLineSources, sourceLine } from '../../../deploy/apt-sources.ts';

describe('sources.list', () => {
  test('plain lines, options, comments, other types', () => {
    const sources = parseOneLineSources(
      [
        '# deb http://commented.example/debian bookworm main',
        'deb http://mirror.example/debian bookworm main contrib # the usual one',
        '  deb [arch=amd64 signed-by=/k/a.gpg,/k/b.gpg] https://two.example/archive/ trixie main',
        'deb-src http://mirror.example/debian bookworm main',
        'deb [trusted=yes] file:/srv/debian sid main',
        'deb http://flat.example/ ./',
        '',
      ].join('\n'),
    );
    expect(sources).toEqual([
      {
        uris: ['http://mirror.example/debian'],
        suites: ['bookworm'],
        components: ['main', 'contrib'],
        signedBy: null,
        trusted: false,
      },
      {
        uris: ['https://two.example/archive/'],
        suites: ['trixie'],
        components: ['main'],
        signedBy: { files: ['/k/a.gpg', '/k/b.gpg'] },
        trusted: false,
      },
      { uris: ['file:/srv/debian'], suites: ['sid'], components: ['main'], signedBy: null, trusted: true },
      { uris: ['http://flat.example/'], suites: ['./'], components: [], signedBy: null, trusted: false },
    ]);
  });
});

describe('deb822', () => {
  test('several values, comments inside, disabled stanzas', () => {
    const sources = parseDeb822Sources(
      [
        'Types: deb deb-src',
        '# http://snapshot.example/20250520',
        'URIs: http://mirror.example/debian',
        '  http://second.example/debian',
        'Suites: bookworm bookworm-updates',
        'Components: main',
        'Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg',
        '',
        'Types: deb',
        'URIs: http://off.example/debian',
        'Suites: sid',
        'Components: main',
        'Enabled: no',
        ' ',
        'Types: deb-src',
        'URIs: http://source.example/debian',
        'Suites: sid',
        'Components: main',
      ].join('\n'),
    );
    expect(sources).toEqual([
      {
        uris: ['http://mirror.example/debian', 'http://second.example/debian'],
        suites: ['bookworm', 'bookworm-updates'],
        components: ['main'],
        signedBy: { files: ['/usr/share/keyrings/debian-archive-keyring.gpg'] },
        trusted: false,
      },
    ]);
  });

  test('an embedded key keeps its empty lines', () => {
    const [source] = parseDeb822Sources(
      [
        ...['Types: deb', 'URIs: http://m.example/debian', 'Suites: sid', 'Components: main', 'Signed-By:'],
        ...[' -----BEGIN PGP PUBLIC KEY BLOCK-----', ' .', ' mDMEY86d', ' -----END PGP PUBLIC KEY BLOCK-----'],
      ].join('\n'),
    );
    expect(source?.signedBy).toEqual({
      key: '-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nmDMEY86d\n-----END PGP PUBLIC KEY BLOCK-----\n',
    });
  });
});

describe('debianMirrors', () => {
  test('joins the suites of a mirror; leaves out security, vendors, cdrom, and archives without main', () => {
    const sources = parseOneLineSources(
      [
        'deb cdrom:[Debian]/ bookworm main',
        'deb https://vendor.example/node nodistro main',
        'deb http://m.example/debian bookworm main',
        'deb [signed-by=/k.gpg] http://m.example/debian bookworm-updates main',
        'deb http://m.example/debian-security bookworm-security main',
        'deb http://m.example/nonfree bookworm non-free',
        'deb http://ubuntu.example/ubuntu noble main',
        'deb [trusted=yes] file:/srv/debian stable main',
      ].join('\n'),
    );
    expect(debianMirrors(sources)).toEqual([
      {
        uri: 'http://m.example/debian',
        suites: ['bookworm', 'bookworm-updates'],
        signedBy: { files: ['/k.gpg'] },
        trusted: false,
      },
      { uri: 'file:/srv/debian', suites: ['stable'], signedBy: null, trusted: true },
    ]);
  });
});

test('sourceLine', () => {
  const line = (keyrings: readonly string[] | null, trusted: boolean): string =>
    sourceLine('http://m.example/debian', 'sid', 'amd64', { keyrings, trusted });
  expect(line(['/a.gpg', '/b.gpg'], false)).toBe(
    'deb [arch=amd64 target=Packages pdiffs=no signed-by=/a.gpg,/b.gpg] http://m.example/debian sid main',
  );
  expect(line(null, false)).toBe('deb [arch=amd64 target=Packages pdiffs=no] http://m.example/debian sid main');
  expect(line(['/a.gpg'], true)).toContain('trusted=yes');
  expect(() => sourceLine('http://m.example/\ndeb x', 'sid', 'amd64', { keyrings: null, trusted: false })).toThrow(
    /line break/,
  );
});
