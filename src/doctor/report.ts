/** How much of a part works. `limited`: holdfast goes on, with what `found` says. */
export type Works = 'yes' | 'limited' | 'no';

/** What a look at one part has shown. */
export interface Finding {
  readonly works: Works;
  /** What is so on this machine. */
  readonly found: string;
  /** What would make it work, where something would. */
  readonly remedy?: string;
}

/** One thing that holdfast needs or uses. */
export interface Part extends Finding {
  readonly name: string;
  /** Without it `holdfast run` cannot do its work. */
  readonly required: boolean;
}

/** Everything that `holdfast doctor` has found. */
export interface Report {
  readonly holdfast: string;
  readonly node: string;
  readonly platform: string;
  readonly arch: string;
  /** As uname(2) gives it. */
  readonly kernel: string;
  /** Whether `holdfast run` can work here. */
  readonly runs: boolean;
  readonly parts: readonly Part[];
}

export function yes(found: string): Finding {
  return { works: 'yes', found };
}

export function limited(found: string, remedy?: string): Finding {
  return { works: 'limited', found, ...(remedy === undefined ? {} : { remedy }) };
}

export function no(found: string, remedy?: string): Finding {
  return { works: 'no', found, ...(remedy === undefined ? {} : { remedy }) };
}
