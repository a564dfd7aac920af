import { PACKET_PAYLOAD_MAX } from '../mysql/packet.ts';

/** Says that an event follows, not an error or the end. */
const OK = Buffer.from([0]);

/**
 * `00 | event` as packets, beginning with `sequence`: one, or several where it is split at 16 MiB - 1 (manual: COM_BINLOG_DUMP
 * response). The event is not copied: a single row may be a gigabyte.
 */
export function frameEvent(event: Buffer, sequence: number): { packets: Buffer[]; next: number } {
  const packets: Buffer[] = [];
  let next = sequence;
  const head = (bytes: number): void => {
    const header = Buffer.allocUnsafe(4);
    header.writeUIntLE(bytes, 0, 3);
    header[3] = next & 0xff;
    packets.push(header);
    next += 1;
  };
  const total = OK.length + event.length;
  let sent = 0;
  do {
    const bytes = Math.min(PACKET_PAYLOAD_MAX, total - sent);
    head(bytes);
    if (sent === 0) packets.push(OK);
    packets.push(event.subarray(Math.max(0, sent - OK.length), sent + bytes - OK.length));
    sent += bytes;
  } while (sent < total);
  if (total % PACKET_PAYLOAD_MAX === 0) head(0);
  return { packets, next };
}
