import { statSync } from 'node:fs';
import { release } from 'node:os';
import { explain } from '../diagnosis/explain.js';
import { errorText, HoldfastError } from '../errors.js';
import type { ReloadOutcome } from '../keeper/reload.js';
import { logOf, readLog } from '../keeper/server-log.js';
import { checkName, stateFiles } from '../keeper/state.js';
import { parseInetAddress } from '../kernel/sockaddr.js';
import { decidingRules } from '../lab/deciding-rules.js';
import { builtInScenarios } from '../lab/library.js';
import type { ScenarioResult } from '../lab/play.js';
import { playable, watchScenario } from '../lab/scenario-run.js';
import type { InetAddress } from '../model/address.js';
import { kernelVersion } from '../model/kernel-rules.js';
import { type KeeperSource, Sampler } from '../watch/sampler.js';
import type { WatchFilter } from '../watch/view.js';
import { checkWatch } from '../watch/watch.js';
import type { KeeperAction, PageParts } from '../watch/web/parts.js';
import { servePage } from '../watch/web/server.js';
import type { ActionResult, ScenarioAbout, ScenarioRun, WhyAnswer } from '../watch/web/wire.js';
import { askNamed, notRunning } from './ask-named.js';
import { isInForeground } from './in-foreground.js';
import { outcomeText, takenOver } from './reload.js';
import { askToScale, scaledTo } from './scale.js';
import { describeAll, exitCodeOf } from './why-answer.js';
import { reportsOn } from './why-reports.js';

export interface PageFlags extends WatchFilter {
  readonly intervalMs: number;
  /** `[HOST:]PORT`; a port alone is one of 127.0.0.1. */
  readonly listen: string;
  readonly allowRemote: boolean;
}

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
/** Of what a server has written before the page was opened. */
const LINES = 100;
const BYTES = 1 << 20;

/** `holdfast watch --web`: serves the page until a signal comes. On a terminal Enter prints another address. */
export async function watchOnPage(flags: PageFlags, keepers: KeeperSource): Promise<void> {
  const { intervalMs, port, pid, keeper, allowRemote } = flags;
  const filter = { port, pid, keeper };
  const { host, port: at } = addressOf(flags);
  const sampler = samplerFor({ ...filter, intervalMs }, keepers);
  const end = new AbortController();
  const parts = partsUntil(end.signal);
  const page = await servePage({ host, port: at, allowRemote, sampler, keepers, parts }).catch(
    (error: unknown) => {
      sampler.close();
      throw explained(error);
    },
  );
  const tell = (): void => void process.stdout.write(`${page.url(filter)}\n`);
  tell();
  if (process.stdin.isTTY && process.stdout.isTTY && isInForeground()) {
    process.stderr.write('That address can be opened once. Enter: another one; Ctrl-C: the end.\n');
    process.stdin.on('data', tell);
    // After Ctrl-Z and bg the terminal is the shell's: who reads it then is stopped.
    process.on('SIGCONT', () => (isInForeground() ? process.stdin.resume() : process.stdin.pause()));
  }
  await new Promise<void>((resolve) => {
    for (const signal of SIGNALS) process.once(signal, () => resolve());
  });
  process.stdin.destroy();
  sampler.close();
  end.abort();
  await page.close();
}

/** @throws {HoldfastError} as `checkWatch`. {SyscallError} the kernel has no inet_diag. */
function samplerFor(options: WatchFilter & { readonly intervalMs: number }, keepers: KeeperSource): Sampler {
  try {
    checkWatch(options, keepers);
    return new Sampler({ intervalMs: options.intervalMs, keepers });
  } catch (error) {
    keepers.close();
    throw error;
  }
}

/** @throws {HoldfastError} ERR_HOLDFAST_ADDRESS, ERR_HOLDFAST_OPTION */
function addressOf({ listen, allowRemote }: PageFlags): InetAddress {
  const address = parseInetAddress(/^\d+$/.test(listen) ? `127.0.0.1:${listen}` : listen);
  if (typeof address === 'string') {
    const text = `--listen ${listen}: ${address}; the forms are 8080, 127.0.0.1:8080, [::1]:8080`;
    throw new HoldfastError('ERR_HOLDFAST_ADDRESS', text);
  }
  const isLoopback = /^127\.|^::1$/.test(address.host);
  if (isLoopback || allowRemote) return address;
  const text = `--listen ${listen}: other machines reach that address, and nothing is encrypted; ssh -L ${address.port || 8080}:127.0.0.1:${address.port || 8080} leads to a page on 127.0.0.1, --allow-remote listens all the same`;
  throw new HoldfastError('ERR_HOLDFAST_OPTION', text);
}

/** Why it cannot listen there, as holdfast why would say it. */
function explained(error: unknown): unknown {
  const text = explain(error);
  if (text === null) return error;
  return new HoldfastError('ERR_HOLDFAST_ADDRESS_TAKEN', `${errorText(error)}\n${text.trimEnd()}`, error);
}

/** What has been asked of keepers is not waited for when that is aborted; it is done all the same. */
function partsUntil(end: AbortSignal): PageParts {
  const ask = (keeper: string, action: KeeperAction): Promise<ActionResult> => act(keeper, action, end);
  return { why, scenarios, playScenario, output, act: ask };
}

function why(target: string, protocol: 'tcp' | 'udp'): WhyAnswer {
  const reports = reportsOn(target === '' ? [] : [target], { udp: protocol === 'udp' });
  return { reports, text: describeAll(reports, {}), exitCode: exitCodeOf(reports) };
}

function scenarios(): readonly ScenarioAbout[] {
  const all = builtInScenarios();
  const known = new Set(playable(all).map(({ id }) => id));
  return all.map(({ id, title, source, claim = null, why = null, depends = null, slow, cases }) => ({
    ...{ id, title, source, claim, why, depends, slow },
    playable: known.has(id),
    rules: decidingRules[id] ?? [],
    cases: cases.map(({ when, steps }) => ({ when, steps: steps.map(({ line }) => line) })),
  }));
}

async function playScenario(id: string, signal: AbortSignal): Promise<ScenarioRun> {
  const scenario = builtInScenarios().find((one) => one.id === id);
  if (scenario === undefined) {
    throw new HoldfastError('ERR_HOLDFAST_SCENARIO', `holdfast brings no scenario "${id}"`);
  }
  if (playable([scenario]).length === 0) {
    throw new HoldfastError('ERR_HOLDFAST_LAB', `${id} needs root: it has sockets of other users`);
  }
  return runOf(await watchScenario(scenario, kernelVersion(release()), signal));
}

function runOf({ id, verdict, agrees, asExpected, cases }: ScenarioResult): ScenarioRun {
  return {
    ...{ id, verdict, agrees, asExpected },
    cases: cases.map(({ when, holds = null, steps }) => ({
      ...{ when, holds },
      steps: steps.map(({ line, kernel, model, expected, claimed = null, rule, sockets = [] }) => ({
        ...{ line, kernel, model, expected, claimed, sockets },
        rule: rule === undefined || rule === 'done' ? null : rule,
      })),
    })),
  };
}

function output(keeper: string, signal: AbortSignal): AsyncIterable<Buffer> {
  const path = logOf(keeperOfThisUser(keeper));
  if (path === undefined) throw notRunning(keeper);
  return readLog(path, { lines: LINES, bytes: BYTES, follow: true, signal });
}

async function act(keeper: string, action: KeeperAction, end: AbortSignal): Promise<ActionResult> {
  const name = keeperOfThisUser(keeper);
  if (action.do === 'scale') {
    const workers = `${action.workers}`;
    const outcome = await askToScale(name, workers, end);
    return { ok: outcome.ok, text: outcomeText(outcome, scaledTo(workers), 'scaling') };
  }
  const outcome = (await askNamed(name, `/${action.do}`, 0, end)) as ReloadOutcome;
  return { ok: outcome.ok, text: outcomeText(outcome, takenOver, action.do) };
}

/** @throws {HoldfastError} ERR_HOLDFAST_NAME. ERR_HOLDFAST_NOT_RUNNING: none, or another user's. */
function keeperOfThisUser(given: string): string {
  const name = checkName(given);
  const control = statSync(stateFiles(name).control, { throwIfNoEntry: false });
  if (control?.uid !== process.getuid?.()) throw notRunning(name);
  return name;
}
