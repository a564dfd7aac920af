/**
 * What somebody stored with SET PERSIST, from the text of mysqld-auto.cnf, in words, '' if nothing. It is never loaded
 * (persisted_globals_load is off, design 9.15), which whoever stored it should hear. The file is JSON: version 1 has one map
 * of names, version 2 several.
 */
export function ignoredSettings(text: string): string {
  const names = persistedNames(text);
  return names.length === 0 ? '' : `settings made with SET PERSIST are ignored: ${names.join(', ')}`;
}

export function persistedNames(text: string): readonly string[] {
  try {
    const file: unknown = JSON.parse(text);
    return [...new Set(namesIn(file))].sort();
  } catch {
    return [];
  }
}

/** A setting is an object that says its "Value", under its name. */
function namesIn(node: unknown): string[] {
  if (typeof node !== 'object' || node === null) return [];
  return Object.entries(node).flatMap(([name, value]) =>
    typeof value === 'object' && value !== null && 'Value' in value ? [name] : namesIn(value),
  );
}
