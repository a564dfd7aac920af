/**
 * What a statement does to the events of the event scheduler, as far as that can be told from the statement alone. MySQL's replicas
 * note an event as REPLICA_SIDE_DISABLED whether it was enabled on the source or not (Event_parse_data::check_originator_id), so the
 * statements are the only place where that is kept.
 */
export type EventChange =
  /** Made, or changed: `enabled` null = as it was. */
  | Readonly<{ kind: 'set'; schema: string; name: string; enabled: boolean | null }>
  | Readonly<{ kind: 'rename'; from: EventName; to: EventName }>
  | Readonly<{ kind: 'drop'; schema: string; name: string }>
  | Readonly<{ kind: 'dropSchema'; schema: string }>;

export type EventName = Readonly<{ schema: string; name: string }>;

type Token = Readonly<{ kind: 'word' | 'name' | 'text' | 'sign'; text: string }>;

/** No statement about an event is as long before the part that matters: its body comes last, and is not read. */
const TOKENS_MAX = 10_000;
/** A first look that costs nothing: most statements are about something else. */
const MAY_CONCERN_EVENTS = /^(?:\s|\/\*[\s\S]*?\*\/)*(?:\/\*!\d*\s*)?(?:CREATE|ALTER|DROP)\b/i;

/** Pure. `schema`: the session's, '' = none. Empty for any other statement. */
export function eventChangesOf(statement: string, schema: string): readonly EventChange[] {
  if (!MAY_CONCERN_EVENTS.test(statement)) return [];
  return new StatementReader(statement, schema).read();
}

class StatementReader {
  readonly #tokens: Iterator<Token>;
  readonly #schema: string;
  #next: Token | null;
  #taken = 0;

  constructor(statement: string, schema: string) {
    this.#tokens = tokensOf(statement);
    this.#schema = schema;
    this.#next = this.#following();
  }

  read(): readonly EventChange[] {
    if (this.#skip('DROP')) return this.#drop();
    const creates = this.#skip('CREATE');
    if (!creates && !this.#skip('ALTER')) return [];
    if (this.#skip('DEFINER')) this.#definer();
    if (!this.#skip('EVENT')) return [];
    const exists = creates && this.#ifExists();
    const event = this.#name();
    if (event === null) return [];
    const { enabled, renamed } = this.#clauses();
    // One that is there already is left as it is; whether it is, the statement does not tell.
    const status = creates ? (enabled ?? (exists ? null : true)) : enabled;
    const to = renamed ?? event;
    return [
      ...(renamed === null ? [] : [{ kind: 'rename', from: event, to: renamed } as const]),
      { kind: 'set', ...to, enabled: status },
    ];
  }

  #drop(): readonly EventChange[] {
    if (this.#skip('EVENT')) {
      this.#ifExists();
      const event = this.#name();
      return event === null ? [] : [{ kind: 'drop', ...event }];
    }
    if (!this.#skip('DATABASE') && !this.#skip('SCHEMA')) return [];
    this.#ifExists();
    const name = this.#identifier();
    return name === null ? [] : [{ kind: 'dropSchema', schema: name }];
  }

  /** IF EXISTS, IF NOT EXISTS. */
  #ifExists(): boolean {
    if (!this.#skip('IF')) return false;
    this.#skip('NOT');
    return this.#skip('EXISTS');
  }

  /** = user, = user@host, = CURRENT_USER(). */
  #definer(): void {
    this.#sign('=');
    this.#take();
    if (this.#sign('@')) this.#take();
    if (this.#sign('(')) this.#sign(')');
  }

  #name(): EventName | null {
    const first = this.#identifier();
    if (first === null) return null;
    if (!this.#sign('.')) return { schema: this.#schema, name: first };
    const second = this.#identifier();
    return second === null ? null : { schema: first, name: second };
  }

  /** What stands between the name and the body. */
  #clauses(): Readonly<{ enabled: boolean | null; renamed: EventName | null }> {
    let enabled: boolean | null = null;
    let renamed: EventName | null = null;
    let depth = 0;
    while (this.#next !== null) {
      const before = this.#next;
      if (depth === 0 && this.#skip('DO')) break;
      if (depth === 0 && this.#skip('ENABLE')) enabled = true;
      else if (depth === 0 && this.#skip('DISABLE')) enabled = false;
      else if (depth === 0 && this.#skip('RENAME') && this.#skip('TO')) renamed = this.#name();
      else if (this.#next === before) {
        if (this.#sign('(')) depth += 1;
        else if (this.#sign(')')) depth -= 1;
        else this.#take();
      }
    }
    return { enabled, renamed };
  }

  #identifier(): string | null {
    const token = this.#next;
    if (token === null || token.kind === 'sign') return null;
    this.#take();
    return token.text;
  }

  #skip(word: string): boolean {
    if (this.#next?.kind !== 'word' || this.#next.text.toUpperCase() !== word) return false;
    this.#take();
    return true;
  }

  #sign(sign: string): boolean {
    if (this.#next?.kind !== 'sign' || this.#next.text !== sign) return false;
    this.#take();
    return true;
  }

  #take(): void {
    this.#next = this.#following();
  }

  #following(): Token | null {
    this.#taken += 1;
    if (this.#taken > TOKENS_MAX) return null;
    const { value, done } = this.#tokens.next();
    return done ? null : value;
  }
}

const TOKEN = new RegExp(
  [
    String.raw`\s+|#[^\n]*|--(?=\s|$)[^\n]*|/\*(?!!)[\s\S]*?\*/|/\*!\d*|\*/`, // what is between tokens; /*!50100 … */ is read
    String.raw`(?<word>[\w$\u0080-\uffff]+)`,
    '(?<name>`(?:[^`]|``)*`)',
    String.raw`(?<text>'(?:[^'\\]|\\[\s\S]|'')*'|"(?:[^"\\]|\\[\s\S]|"")*")`,
    String.raw`(?<sign>[\s\S])`,
  ].join('|'),
  'gy',
);

function* tokensOf(statement: string): Generator<Token> {
  for (const { groups = {} } of statement.matchAll(TOKEN)) {
    const { word, name, text, sign } = groups;
    if (word !== undefined) yield { kind: 'word', text: word };
    else if (name !== undefined) yield { kind: 'name', text: name.slice(1, -1).replaceAll('``', '`') };
    else if (text !== undefined) yield { kind: 'text', text: text.slice(1, -1) };
    else if (sign !== undefined) yield { kind: 'sign', text: sign };
  }
}
