import { PhxError } from '../base/errors.ts';
import { EVENT_HEADER_BYTES, EVENT_TYPE, isGtidEvent, parseEventHeader, parseQuery } from '../mysql/binlog-event.ts';
import { type EventChange, type EventName, eventChangesOf } from '../mysql/event-statement.ts';

/** Beyond it the oldest are forgotten, and enabled by the next master. */
export const DISABLED_EVENTS_MAX = 4096;

/**
 * The events of the event scheduler that are disabled, by the log: `schema`.`event` of each, quoted. A slave's MySQL does not keep
 * that, so whoever becomes master needs it to know which of them to enable.
 */
export type DisabledEvents = readonly string[];

/** Pure: the list after a completed transaction, whose bytes are `events`; the same one if it is not about events. */
export function afterTransaction(disabled: DisabledEvents, events: Uint8Array): DisabledEvents {
  const query = readable(() => definitionIn(events));
  if (query === null) return disabled;
  return eventChangesOf(query.sql, query.schema).reduce(afterChange, disabled);
}

/** The statement of a transaction that consists of one: a definition follows its GTID event without a BEGIN. */
function definitionIn(events: Uint8Array): Readonly<{ sql: string; schema: string }> | null {
  if (events.length < EVENT_HEADER_BYTES) return null;
  const first = parseEventHeader(events);
  if (!isGtidEvent(first.type) || first.size + EVENT_HEADER_BYTES > events.length) return null;
  const second = parseEventHeader(events, first.size);
  if (second.type !== EVENT_TYPE.QUERY || first.size + second.size !== events.length) return null;
  const { sql, database } = parseQuery(events.subarray(first.size));
  return { sql, schema: database };
}

/** What cannot be read says nothing about events; it must not stop any node. */
function readable<T>(read: () => T): T | null {
  try {
    return read();
  } catch (error) {
    if (error instanceof PhxError) return null;
    throw error;
  }
}

function afterChange(disabled: DisabledEvents, change: EventChange): DisabledEvents {
  switch (change.kind) {
    case 'set':
      if (change.enabled === null) return disabled;
      return change.enabled
        ? without(disabled, change)
        : [...without(disabled, change), keyOf(change)].slice(-DISABLED_EVENTS_MAX);
    case 'rename': {
      const kept = without(without(disabled, change.from), change.to);
      return disabled.includes(keyOf(change.from)) ? [...kept, keyOf(change.to)] : kept;
    }
    case 'drop':
      return without(disabled, change);
    case 'dropSchema': {
      const prefix = `${quoted(change.schema)}.`;
      return disabled.some((key) => key.startsWith(prefix))
        ? disabled.filter((key) => !key.startsWith(prefix))
        : disabled;
    }
    default:
      return change satisfies never;
  }
}

function without(disabled: DisabledEvents, event: EventName): DisabledEvents {
  const key = keyOf(event);
  return disabled.includes(key) ? disabled.filter((each) => each !== key) : disabled;
}

/** Names of events know no case, those of schemas do. */
const keyOf = ({ schema, name }: EventName): string => `${quoted(schema)}.${quoted(name.toLowerCase())}`;

const quoted = (name: string): string => `\`${name.replaceAll('`', '``')}\``;
