import { PhxError } from '../base/errors.ts';

/**
 * What the machine's own apt configuration says about where packages come from. Read, never changed: the mirror of a
 * download is the one its administrator chose. Formats: sources.list(5), one-line (.list) and deb822 (.sources).
 */
export type AptSource = Readonly<{
  uris: readonly string[];
  suites: readonly string[];
  components: readonly string[];
  /** Paths of keyrings, or one ASCII-armoured key block; null = apt's global ones. */
  signedBy: Readonly<{ files: readonly string[] }> | Readonly<{ key: string }> | null;
  /** The administrator wrote `trusted=yes`: apt itself would not verify it. */
  trusted: boolean;
}>;

/** A mirror of the Debian archive, with the suites this machine takes from it. */
export type DebianMirror = Readonly<{
  uri: string;
  suites: readonly string[];
  signedBy: AptSource['signedBy'];
  trusted: boolean;
}>;

const DEBIAN_SUITES: ReadonlySet<string> = new Set([
  ...['bullseye', 'bookworm', 'trixie', 'forky', 'duke', 'sid'],
  ...['oldoldstable', 'oldstable', 'stable', 'testing', 'unstable'],
]);

/** Lines `deb [options] uri suite component…`; others, comments included, are passed over. */
export function parseOneLineSources(text: string): readonly AptSource[] {
  return text.split('\n').flatMap((raw) => {
    const match = /^\s*deb\s+(?:\[([^\]]*)\]\s+)?(\S+)\s+(\S+)((?:\s+[^#\s]\S*)*)\s*(?:#.*)?$/.exec(raw);
    if (match === null) return [];
    const [, options = '', uri = '', suite = '', components = ''] = match;
    const option = (name: string): string | undefined =>
      words(options)
        .find((word) => word.toLowerCase().startsWith(`${name}=`))
        ?.slice(name.length + 1);
    const signedBy = option('signed-by');
    return [
      {
        uris: [uri],
        suites: [suite],
        components: words(components),
        signedBy: signedBy === undefined ? null : { files: signedBy.split(',') },
        trusted: isYes(option('trusted')),
      },
    ];
  });
}

/** Stanzas of `Field: value` with continuation lines; disabled ones and those without binary packages are passed over. */
export function parseDeb822Sources(text: string): readonly AptSource[] {
  const lines = text.split('\n').filter((line) => !line.startsWith('#'));
  const stanzas = lines.join('\n').split(/\n[ \t]*\n/);
  return stanzas.flatMap((stanza) => {
    const fields = new Map<string, string>();
    let last = '';
    for (const line of stanza.split('\n')) {
      const match = /^([A-Za-z][\w-]*):(.*)$/.exec(line);
      if (match !== null) {
        last = (match[1] as string).toLowerCase();
        fields.set(last, (match[2] as string).trim());
      } else if (/^[ \t]/.test(line) && last !== '') {
        fields.set(last, `${fields.get(last) ?? ''}\n${line.trim()}`);
      }
    }
    if (fields.get('enabled') !== undefined && !isYes(fields.get('enabled'))) return [];
    if (!words(fields.get('types') ?? '').includes('deb')) return [];
    return [
      {
        uris: words(fields.get('uris') ?? ''),
        suites: words(fields.get('suites') ?? ''),
        components: words(fields.get('components') ?? ''),
        signedBy: signedByField(fields.get('signed-by')),
        trusted: isYes(fields.get('trusted')),
      },
    ];
  });
}

/** An embedded key has its empty lines written as a single dot. */
function signedByField(value: string | undefined): AptSource['signedBy'] {
  if (value === undefined || value.trim() === '') return null;
  if (!value.includes('-----BEGIN PGP')) return { files: value.split(/[\s,]+/).filter((file) => file !== '') };
  const key = value.split('\n').map((line) => (line === '.' ? '' : line));
  return { key: `${key.join('\n').trim()}\n` };
}

/** The mirrors of the Debian archive among the sources, in their order; security archives and other vendors are left out. */
export function debianMirrors(sources: readonly AptSource[]): readonly DebianMirror[] {
  const mirrors = new Map<string, DebianMirror>();
  for (const source of sources) {
    const suites = source.suites.filter((suite) => DEBIAN_SUITES.has(suite.replace(/-(?:updates|backports)$/, '')));
    if (suites.length === 0 || !source.components.includes('main')) continue;
    for (const uri of source.uris) {
      if (uri.startsWith('cdrom:')) continue;
      const known = mirrors.get(uri);
      mirrors.set(uri, {
        uri,
        suites: [...new Set([...(known?.suites ?? []), ...suites])],
        signedBy: known?.signedBy ?? source.signedBy,
        trusted: (known?.trusted ?? true) && source.trusted,
      });
    }
  }
  return [...mirrors.values()];
}

/** One line of a sources.list for `main` of a suite, nothing but package lists. `keyrings` null = apt's global ones. */
export function sourceLine(
  uri: string,
  suite: string,
  arch: string,
  verification: Readonly<{ keyrings: readonly string[] | null; trusted: boolean }>,
): string {
  const options = [`arch=${arch}`, 'target=Packages', 'pdiffs=no'];
  if (verification.trusted) options.push('trusted=yes');
  else if (verification.keyrings !== null) options.push(`signed-by=${verification.keyrings.join(',')}`);
  const line = `deb [${options.join(' ')}] ${uri} ${suite} main`;
  if (/[\n\r]/.test(line))
    throw new PhxError('CONFIG_INVALID', `write apt source: line break in ${JSON.stringify(line)}`);
  return line;
}

function words(text: string): readonly string[] {
  return text.split(/\s+/).filter((word) => word !== '');
}

function isYes(value: string | undefined): boolean {
  return value !== undefined && /^(?:yes|true|with|on|enable|1)$/i.test(value);
}
