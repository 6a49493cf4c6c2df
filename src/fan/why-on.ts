import { answerOf, holdfastCommand, type Silence } from './answer.js';
import type { FanResult } from './fan.js';

export interface WhyWords {
  /** 8080, '127.0.0.1:8080', '8000-8010'; none with `all`. */
  readonly ports: readonly (number | string)[];
  /** Every port that is held. */
  readonly all?: boolean | undefined;
  readonly udp?: boolean | undefined;
  /** With what went over connections. */
  readonly verbose?: boolean | undefined;
  readonly netns?: 'all' | undefined;
  /** False: no bind is tried. */
  readonly probe?: boolean | undefined;
  /** How holdfast is called there. Default: `holdfast`, from the remote PATH. */
  readonly holdfast?: readonly string[] | undefined;
}

/** What a host says of the ports; `Report` is what `why` gives. */
export type WhyAt<Report> =
  | { readonly host: string; readonly ok: true; readonly reports: readonly Report[] }
  | Silence;

const FORM = {
  /** All but wrong usage and failures. */
  statuses: [0, 1, 3, 4],
  /** One object for one port. */
  read: (json: unknown): readonly unknown[] | undefined => {
    const reports: readonly unknown[] = Array.isArray(json) ? json : [json];
    return reports.every(isReport) ? reports : undefined;
  },
};

/** The command that asks a host. */
export function whyWords({
  ports,
  all,
  udp,
  verbose,
  netns,
  probe,
  holdfast = ['holdfast'],
}: WhyWords): readonly string[] {
  return holdfastCommand(holdfast, [
    ...['why', '--json', ...(all ? ['--all'] : []), ...(udp ? ['--udp'] : [])],
    ...[...(verbose ? ['-v'] : []), ...(netns === undefined ? [] : ['--netns', netns])],
    ...[...(probe === false ? ['--no-probe'] : []), ...ports.map((port) => `${port}`)],
  ]);
}

export function whyAt(result: FanResult): WhyAt<unknown> {
  const read = answerOf(result, FORM);
  return read.ok ? { host: read.host, ok: true, reports: read.answer } : read;
}

function isReport(json: unknown): boolean {
  return typeof json === 'object' && json !== null && 'schema' in json && json.schema === 1;
}
