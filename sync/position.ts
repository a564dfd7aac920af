/** Where in the master's binlog something ends; what an ack names. */
export type BinlogPosition = Readonly<{ file: string; position: number }>;

export function samePosition(a: BinlogPosition | null, b: BinlogPosition | null): boolean {
  return a !== null && b !== null && a.file === b.file && a.position === b.position;
}
