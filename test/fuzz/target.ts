/** A parser under fuzz: `run` may return or throw a PhxError; anything else that leaves it is a bug. */
export type FuzzTarget = Readonly<{
  name: string;
  /** Valid inputs, from which damaged ones are made. */
  samples: readonly Uint8Array[];
  run(bytes: Uint8Array): void;
}>;
