import { essenceOf } from '../diagnosis/essence.js';
import type { WhyReport } from '../diagnosis/report.js';
import { foldHosts } from '../fan/host-list.js';
import { type Silence, type WhyAtHost, whyOn } from '../index.js';
import { type HostFlags, hostsOf, reachOf } from './hosts.js';
import { parseTargets } from './port-target.js';
import { groupBy, remoteHoldfast, tellSilent } from './remote-holdfast.js';
import { stream } from './stream.js';
import type { WhyFlags } from './why.js';
import { describeAll, exitCodeOf } from './why-answer.js';

export interface WhyOnFlags extends WhyFlags, HostFlags {
  readonly on: readonly string[];
  readonly remoteHoldfast?: string;
}

interface Answer {
  readonly host: string;
  readonly reports: readonly WhyReport[];
  /** As `why` says it there. */
  readonly text: string;
}

/**
 * `holdfast why … --on HOSTS`: exit 2 when a host has not answered, otherwise as `why`, with the worst news of any host.
 * Hosts that say the same are told together.
 */
export async function whyOnCommand(words: readonly string[], flags: WhyOnFlags): Promise<void> {
  // A mistake is told before any host is asked.
  if (!flags.all) parseTargets(words);
  const hosts = hostsOf('--on', flags.on, flags);
  const stopping = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => stopping.abort());
  const { all, udp, verbose, netns, probe } = flags;
  const answers = new Map<string, WhyAtHost>();
  for await (const answer of whyOn({
    ...reachOf(flags),
    ...{ hosts, signal: stopping.signal, holdfast: remoteHoldfast(flags.remoteHoldfast) },
    ...{ ports: words, all, udp, verbose, netns, probe },
  })) {
    answers.set(answer.host, answer);
    if (flags.json) await stream(`${JSON.stringify(answer)}\n`);
  }
  const sorted = hosts.flatMap((host) => answers.get(host) ?? []);
  const silent = sorted.filter((answer): answer is Silence => !answer.ok);
  const told = sorted.flatMap((answer) =>
    answer.ok ? [{ ...answer, text: describeAll(answer.reports, flags) }] : [],
  );
  if (!flags.json) {
    await tellAnswers(told, verbose === true);
    tellSilent(silent);
  }
  process.exitCode = silent.length > 0 ? 2 : exitCodeOf(told.flatMap(({ reports }) => reports));
}

/** With -v only what is word for word the same is told together. */
async function tellAnswers(answers: readonly Answer[], verbose: boolean): Promise<void> {
  const keyOf = ({ text, reports }: Answer): string =>
    verbose ? text : JSON.stringify(reports.map(essenceOf));
  const texts: string[] = [];
  for (const some of groupBy(answers, keyOf).values()) {
    const [first] = some as [Answer];
    const names = foldHosts(some.map(({ host }) => host));
    const differ = some.some(({ text }) => text !== first.text);
    const seen = differ ? `, pids and times of ${first.host}` : '';
    texts.push(`---- ${names} (${some.length})${seen}\n${first.text}`);
  }
  await stream(texts.join('\n'));
}
