import { readFileSync } from 'node:fs';
import { Readable } from 'node:stream';
import { HoldfastError } from '../errors.js';
import { foldHosts } from '../fan/host-list.js';
import { type FanOptions, type FanResult, fan as runFan } from '../index.js';
import { FanOutput } from './fan-output.js';
import { type HostFlags, hostsOf, reachOf, readText } from './hosts.js';
import { stream } from './stream.js';

export interface FanFlags extends HostFlags {
  readonly hosts: readonly string[];
  readonly rshStderr?: true;
  readonly retries?: number;
  readonly script?: string;
  readonly stdin?: true;
  readonly json?: true;
  readonly group?: true;
  readonly diff?: true;
  readonly worst?: true;
  readonly dryRun?: true;
}

const CEILING =
  'holdfast: --rsh-stderr: every command takes a reserved port of its server for a minute, so that a server can run about 500 commands a minute\n';

/** `holdfast fan`: exit code 0 when every host's command gave 0, otherwise 1, or with -S the highest status. */
export async function fan(words: readonly string[], flags: FanFlags): Promise<void> {
  const hosts = hostsOf('-w', flags.hosts, flags);
  const script = flags.script === undefined ? undefined : readText(flags.script);
  if (words.length === 0 && script === undefined)
    throw wrong('there is no command; it stands after --, as in: holdfast fan -w web[1-3] -- uptime');
  if (flags.rshStderr && !flags.rsh)
    throw wrong('--rsh-stderr goes with --rsh; by ssh stderr is apart anyway');
  if (flags.dryRun) return stream(`${hosts.length} hosts: ${foldHosts(hosts)}\n`);
  if (flags.rshStderr) process.stderr.write(CEILING);
  const input = flags.stdin ? readFileSync(0) : undefined;
  const output = new FanOutput(hosts, flags);
  const options: FanOptions = {
    ...reachOf(flags),
    ...{ hosts, command: words, script, retries: flags.retries, rshStderr: flags.rshStderr },
    input: input && (() => Readable.from([input])),
    keepsOutput: flags.json === true || flags.group === true || flags.diff === true,
    onStart: (host) => output.started(host),
    onOutput: (host, name, bytes) => output.took(host, name, bytes),
    signal: interruption(output),
  };
  const results: FanResult[] = [];
  for await (const result of runFan(options)) {
    results.push(result);
    await output.ended(result);
  }
  const place = new Map(hosts.map((host, index) => [host, index]));
  results.sort((a, b) => (place.get(a.host) ?? 0) - (place.get(b.host) ?? 0));
  await output.finish(results);
  process.exitCode = exitCode(results, flags.worst === true);
}

/** Once: where each host is. Twice: all are ended. */
function interruption(output: FanOutput): AbortSignal {
  const stopping = new AbortController();
  let asked = false;
  process.on('SIGINT', () => {
    if (asked) stopping.abort();
    else output.tellState();
    asked = true;
  });
  process.on('SIGTERM', () => stopping.abort());
  return stopping.signal;
}

function exitCode(results: readonly FanResult[], worst: boolean): number {
  const failed = results.filter(({ status }) => status !== 0);
  if (failed.length === 0) return 0;
  // What has no status is worse than any.
  return worst ? Math.max(...failed.map(({ status }) => status ?? 255)) : 1;
}

function wrong(text: string): HoldfastError {
  return new HoldfastError('ERR_HOLDFAST_OPTION', text);
}
