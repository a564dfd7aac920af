/** A text as an SQL literal. NO_BACKSLASH_ESCAPES is not set for our connections. */
export function sqlText(text: string): string {
  return `'${text.replaceAll('\\', '\\\\').replaceAll("'", "''")}'`;
}
