// `npm run bench -- watch`: the CPU time of `holdfast watch` and of its page's server at one look a second, beside ss once a second, and
// the work of the page in a browser. How each figure is measured is in docs/benchmarks.md.

import { readFileSync } from 'node:fs';
import { loadavg } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import { chromium } from 'playwright-core';
import { runBench } from './support/bench.js';
import { withCircumstances } from './support/circumstances.js';
import { type Circumstances, describeCircumstances } from './support/docs.js';
import { findPath } from './support/plain.js';
import { type Started, start, withCleanup } from './support/process.js';
import { fromProject } from './support/project.js';
import { judgeMost, shuffled } from './support/rounds.js';
import { fillTimeWaits, timeWaits } from './support/sandbox.js';
import { type Estimate, estimate } from './support/statistics.js';
import { table } from './support/table.js';

const USAGE = `Usage: npm run bench -- watch [options]
  --rounds N   default 9
  --small      2,000 instead of 49,000 TIME_WAIT entries: a quick look, without meaning
  --docs       put the figures into docs/benchmarks.md
  --told       measure nothing: tell the figures of the last time
`;

interface WatchFigures extends Circumstances {
  readonly rounds: number;
  readonly timeWaits: number;
  readonly live: number;
  /** Of the machine, over the last minute: before and after. */
  readonly loads: readonly number[];
  /** By what was measured, the percent of a core of each round. */
  readonly percents: Readonly<Record<string, readonly number[]>>;
  /** Bytes of each delta. */
  readonly deltaBytes: readonly number[];
  /** Of each second with the page open, the time of all tasks of its main thread in ms; null without a browser. */
  readonly pageMs: readonly number[] | null;
  /** First contentful paint of the page, in ms since the navigation, each time it was opened; null without a browser. */
  readonly paintMs: readonly number[] | null;
}

const PORT = 7000;
const LIVE_PORT = 8080;
/** Each has two ends. */
const CONNECTIONS = 500;
const SECONDS = 5;
/** Until the code that is used all the time has been compiled. */
const WARM_SECONDS = 15;
/** Until it has told of what was made for the round. */
const SETTLE_SECONDS = 3;
const TARGET = 5;
const PAGE_TARGET_MS = 8;
const PAINT_TARGET_MS = 1_000;
const TRACED_SECONDS = 30;

const WATCH = 'holdfast watch --json';
const WEB = 'holdfast watch --web, one reader';
/** By IPv6: TIME_WAIT is made from all ports of 127.0.0.1. */
const WEB_COMMAND = [
  process.execPath,
  ...[fromProject('dist/cli/main.cjs'), 'watch', '--web', '--listen', '[::1]:0'],
];
const SS = 'ss -tan, once a second';
const LOOP = 'sleep 0, once a second';
const AGAIN = 'sleep 0, once a second, again';

export function main(args: readonly string[]): Promise<void> {
  const bench = {
    name: 'watch',
    usage: USAGE,
    needs: ['unshare', 'ip'],
    defaultRounds: 9,
    isSandboxed: true,
    measure: (rounds: number, isSmall: boolean) =>
      withCircumstances(findPath('ss') === undefined ? [] : ['ss'], () =>
        measure(rounds, isSmall ? 2_000 : 49_000),
      ),
    describe,
  } as const;
  return runBench<WatchFigures>(bench, args);
}

async function measure(rounds: number, entries: number): Promise<Omit<WatchFigures, keyof Circumstances>> {
  const loads = [loadavg()[0] ?? 0];
  const percents: Record<string, number[]> = {};
  const counts: number[] = [];
  let deltaBytes: readonly number[] = [];
  let seen: { readonly pageMs: readonly number[]; readonly paintMs: readonly number[] } | undefined;
  await withCleanup(async () => {
    const live = start([process.execPath, '-e', CONNECT, `${LIVE_PORT}`, `${CONNECTIONS}`]);
    await live.line(/^connected$/);
    const watching = start([process.execPath, fromProject('dist/cli/main.cjs'), 'watch', '--json']);
    const web = start(WEB_COMMAND);
    const [url] = await web.line(/^http:\S+$/);
    await start([process.execPath, '-e', READ, url]).line(/^reads$/);
    const ss = findPath('ss');
    const others = {
      [WEB]: web,
      ...(ss === undefined ? {} : { [SS]: onceASecond(`${ss} -tan > /dev/null`) }),
      [LOOP]: onceASecond('sleep 0'),
      [AGAIN]: onceASecond('sleep 0'),
    };
    const path = pathToFileURL(fromProject('dist/kernel/sock-destroy.js')).href;
    const { destroyLeftovers } = (await import(path)) as typeof import('../src/kernel/sock-destroy.js');
    await fillTimeWaits(PORT, entries);
    await sleep(1_000 * WARM_SECONDS);
    for (let round = 1; round <= rounds; round++) {
      process.stderr.write(`watch: round ${round} of ${rounds}\n`);
      // Anew, so that none ends within the round.
      destroyLeftovers({ port: PORT, states: ['TIME_WAIT'] });
      await fillTimeWaits(PORT, entries);
      await sleep(1_000 * SETTLE_SECONDS);
      counts.push(timeWaits());
      for (const [name, { pid }] of shuffled(Object.entries({ [WATCH]: watching, ...others }))) {
        const percent = await percentOf(pid);
        percents[name] = [...(percents[name] ?? []), percent];
      }
    }
    const deltas = watching.stdout.filter((line) => line.includes('"type":"delta"'));
    deltaBytes = deltas.map((line) => Buffer.byteLength(line));
    await Promise.all([watching.stop(), web.stop()]);
    const browser = findPath('chromium');
    if (browser !== undefined) seen = await seePage(browser, rounds);
  });
  loads.push(loadavg()[0] ?? 0);
  const { pageMs = null, paintMs = null } = seen ?? {};
  const least = Math.min(...counts);
  return { rounds, timeWaits: least, live: 2 * CONNECTIONS, loads, percents, deltaBytes, pageMs, paintMs };
}

/** Opens connections to itself and keeps them. */
const CONNECT = `
  const net = require('node:net');
  const [port, count] = process.argv.slice(1).map(Number);
  const kept = [];
  net.createServer((socket) => {
    kept.push(socket);
    if (kept.length === count) console.log('connected');
  }).listen(port, '127.0.0.1', () => {
    // From an address of its own: TIME_WAIT is made from all ports of 127.0.0.1.
    const from = { port, host: '127.0.0.1', localAddress: '127.0.0.77' };
    for (let at = 0; at < count; at++) kept[-1 - at] = net.connect(from);
  });`;

/** Opens the address, and reads the updates as a page does. */
const READ = `
  const url = process.argv[1];
  fetch(url).then(async (admitted) => {
    const cookie = admitted.headers.get('set-cookie').split(';')[0];
    const updates = await fetch(new URL('/api/updates', url), { headers: { cookie } });
    console.log('reads');
    for await (const chunk of updates.body);
  });`;

/** Opens the page in a browser, and lets it draw what it gets. */
async function seePage(
  executablePath: string,
  rounds: number,
): Promise<{ readonly pageMs: readonly number[]; readonly paintMs: readonly number[] }> {
  const web = start(WEB_COMMAND);
  const [url] = await web.line(/^http:\S+$/);
  const browser = await chromium.launch({ executablePath, chromiumSandbox: false });
  try {
    const tab = await browser.newPage();
    await tab.goto(url);
    await tab.waitForSelector(SHOWN);
    const paintMs: number[] = [];
    for (let round = 0; round < rounds; round++) {
      await tab.reload();
      await tab.waitForSelector(SHOWN);
      paintMs.push(Number(await tab.evaluate(FIRST_PAINT)));
    }
    await sleep(1_000 * SETTLE_SECONDS);
    await browser.startTracing(tab, { categories: ['toplevel'] });
    await sleep(1_000 * TRACED_SECONDS);
    const trace = await browser.stopTracing();
    return { paintMs, pageMs: mainThreadMs(JSON.parse(trace.toString('utf8')) as Trace) };
  } finally {
    await browser.close();
    await web.stop();
  }
}

/** A node of the diagram with a count. */
const SHOWN = '[data-state="LISTEN"]:not([data-count=""])';
const FIRST_PAINT = `performance.getEntriesByName('first-contentful-paint')[0]?.startTime`;

interface Trace {
  readonly traceEvents: readonly {
    readonly name: string;
    readonly ph: string;
    readonly pid: number;
    readonly tid: number;
    /** Microseconds. */
    readonly ts: number;
    readonly dur?: number;
    readonly args?: { readonly name?: string };
  }[];
}

/** How long the page's main thread was at work in each second but the first and the last. */
function mainThreadMs({ traceEvents }: Trace): readonly number[] {
  const main = traceEvents.find(
    ({ name, args }) => name === 'thread_name' && args?.name === 'CrRendererMain',
  );
  if (main === undefined) throw new Error('the trace has no main thread of a page');
  const tasks = traceEvents.filter(
    ({ name, ph, pid, tid }) =>
      name === 'ThreadControllerImpl::RunTask' && ph === 'X' && pid === main.pid && tid === main.tid,
  );
  const begun = Math.min(...tasks.map(({ ts }) => ts));
  const perSecond: number[] = [];
  for (const { ts, dur = 0 } of tasks) {
    const second = Math.floor((ts - begun) / 1e6);
    perSecond[second] = (perSecond[second] ?? 0) + dur / 1e3;
  }
  return Array.from(perSecond, (ms = 0) => ms).slice(1, -1);
}

/** Its time is that of what it has run. */
function onceASecond(command: string): Started {
  return start(['/bin/sh', '-c', `while :; do ${command}; sleep 1; done`]);
}

/** What a process and its ended children use of a core, over some seconds. */
async function percentOf(pid: number): Promise<number> {
  const [before, begun] = [cpuMs(pid), performance.now()];
  await sleep(1_000 * SECONDS);
  return (100 * (cpuMs(pid) - before)) / (performance.now() - begun);
}

/** @see proc_pid_stat(5): utime, stime, cutime, cstime, in ticks of 10 ms */
function cpuMs(pid: number): number {
  const text = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  return [11, 12, 13, 14].reduce((all, index) => all + 10 * Number(fields[index]), 0);
}

function describe(figures: WatchFigures): string {
  const { rounds, timeWaits: entries, live, loads, percents, deltaBytes, pageMs, paintMs } = figures;
  const names = [WATCH, WEB, SS, LOOP, AGAIN].filter((name) => percents[name] !== undefined);
  const rows = names.map((name) => {
    const own = percents[name] ?? [];
    return [name, format(estimate(own)), Math.max(...own).toFixed(2)];
  });
  const watching = estimate(percents[WATCH] ?? []);
  const web = estimate(percents[WEB] ?? []);
  const again = estimate(percents[AGAIN] ?? []);
  const most = Math.max(...deltaBytes);
  return [
    `${describeCircumstances(figures)}; ${rounds} rounds of ${SECONDS} s, ${entries.toLocaleString('en-US')} TIME_WAIT, ${live.toLocaleString('en-US')} live sockets; load of the machine (1 min) ${loads.map((load) => load.toFixed(1)).join(' before, ')} after.`,
    table(['', '% of a core', 'most of a round'], rows),
    `In parentheses the interval that has the median with ${(100 * watching.confidence).toFixed(1)} % confidence.`,
    table(
      ['target', 'measured', 'verdict'],
      [
        [
          `holdfast watch <= ${TARGET} % of a core`,
          format(watching),
          judgeMost(watching, TARGET, again.high - again.low),
        ],
        [
          `the server of the page <= ${TARGET} % of a core`,
          format(web),
          judgeMost(web, TARGET, again.high - again.low),
        ],
        ['a delta <= 20,000 bytes', `${most} at most`, most <= 20_000 ? 'reached' : 'missed'],
        ...(pageMs === null || paintMs === null
          ? []
          : [
              judged(`main thread of the page <= ${PAGE_TARGET_MS} ms an update`, pageMs, PAGE_TARGET_MS),
              judged(`first paint <= ${PAINT_TARGET_MS} ms`, paintMs, PAINT_TARGET_MS),
            ]),
      ],
    ),
  ].join('\n\n');
}

function judged(what: string, ms: readonly number[], target: number): readonly string[] {
  const own = estimate(ms);
  return [what, `${format(own)} ms`, judgeMost(own, target, 0)];
}

function format({ median, low, high }: Estimate): string {
  return `${median.toFixed(2)} (${low.toFixed(2)} to ${high.toFixed(2)})`;
}
