// `npm run bench -- time-wait`: what many TIME_WAIT entries at a server use up: memory, and the time of bind and connect
// among them. How each figure is measured is in docs/benchmarks.md.

import { readFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
import type { InetAddress } from '../src/model/address.js';
import { runBench } from './support/bench.js';
import { withCircumstances } from './support/circumstances.js';
import { type Circumstances, describeCircumstances } from './support/docs.js';
import { withCleanup } from './support/process.js';
import { fromProject } from './support/project.js';
import { differences, shuffled } from './support/rounds.js';
import { fillTimeWaits, timeWaits } from './support/sandbox.js';
import { slabIn } from './support/slab.js';
import { type Estimate, estimate, median } from './support/statistics.js';
import { table } from './support/table.js';
import { undisturbed } from './support/undisturbed.js';

const USAGE = `Usage: npm run bench -- time-wait [options]
  --rounds N   default 9
  --small      2,000 instead of 50,000 entries: a quick look, without meaning
  --docs       put the figures into docs/benchmarks.md
  --told       measure nothing: tell the figures of the last time
`;

interface TimeWaitFigures extends Circumstances {
  readonly rounds: number;
  readonly entries: number;
  /** By call and by what was there, the median microseconds of each round. */
  readonly calls: Readonly<Record<Call, Record<Filling, number[]>>>;
  readonly memory: readonly Memory[];
}

type Filling = 'none' | 'many' | 'none again';

const CALLS = [
  'bind to another port',
  'bind to the same port, 0.0.0.0',
  'bind to the same port, 127.0.0.1',
  'connect to another port',
  'connect to the same port',
] as const;
type Call = (typeof CALLS)[number];

interface Memory {
  readonly entries: number;
  /** Undefined: /proc/slabinfo is not for this user, or has no such slab. */
  readonly slabBytes: number | undefined;
  readonly objectBytes: number | undefined;
  readonly availableBytes: number;
}

const PORT = 7000;
const OTHER_PORT = 7001;
const TIMES = 300;
const SLAB = 'tw_sock_TCP';

const SOL_SOCKET = 1;
const SO_REUSEADDR = 2;
const SO_LINGER = 13;
const ON = Buffer.from([1, 0, 0, 0]);
/** close sends a reset and leaves nothing. */
const NO_LINGER = Buffer.from([1, 0, 0, 0, 0, 0, 0, 0]);

export function main(args: readonly string[]): Promise<void> {
  const bench = {
    name: 'time-wait',
    usage: USAGE,
    needs: ['unshare', 'ip'],
    defaultRounds: 9,
    isSandboxed: true,
    measure: (rounds: number, isSmall: boolean) =>
      withCircumstances([], () => measure(rounds, isSmall ? 2_000 : 50_000)),
    describe,
  } as const;
  return runBench<TimeWaitFigures>(bench, args);
}

async function measure(rounds: number, entries: number): Promise<Omit<TimeWaitFigures, keyof Circumstances>> {
  const { destroyLeftovers } = await load<typeof import('../src/kernel/sock-destroy.js')>('sock-destroy');
  const sockets = await load<Sockets>('socket-calls');
  const calls = Object.fromEntries(
    CALLS.map((call) => [call, { none: [], many: [], 'none again': [] }]),
  ) as unknown as Record<Call, Record<Filling, number[]>>;
  const memory: Memory[] = [];
  const take = (filling: Filling): void =>
    undisturbed(() => {
      for (const call of shuffled(CALLS)) calls[call][filling].push(medianUs(sockets, call));
    });
  await withCleanup(async () => {
    for (const call of CALLS) medianUs(sockets, call); // compiles them
    for (let round = 1; round <= rounds; round++) {
      process.stderr.write(`time-wait: round ${round} of ${rounds}\n`);
      take('none');
      const before = memoryNow();
      await fillTimeWaits(PORT, entries);
      memory.push(growth(before, memoryNow()));
      take('many');
      destroyLeftovers({ port: PORT, states: ['TIME_WAIT', 'FIN_WAIT2'] });
      take('none again');
    }
  });
  return { rounds, entries, calls, memory };
}

type Sockets = typeof import('../src/kernel/socket-calls.js');

function load<T>(name: string): Promise<T> {
  return import(pathToFileURL(fromProject('dist', 'kernel', `${name}.js`)).href) as Promise<T>;
}

function medianUs(sockets: Sockets, call: Call): number {
  const port = call.includes('same') ? PORT : OTHER_PORT;
  if (call.startsWith('connect')) return connectUs(sockets, port);
  const host = call.endsWith('127.0.0.1') ? '127.0.0.1' : '0.0.0.0';
  return bindUs(sockets, { family: 'ipv4', host, port });
}

function bindUs({ openSocket, setOption, bindTo, closeFd }: Sockets, at: InetAddress): number {
  const times = Array.from({ length: TIMES }, () => {
    const fd = must(openSocket('tcp', 'ipv4'));
    must(setOption(fd, SOL_SOCKET, SO_REUSEADDR, ON));
    const begun = performance.now();
    const result = bindTo(fd, at);
    const ms = performance.now() - begun;
    must(closeFd(fd));
    must(result);
    return ms * 1_000;
  });
  return median(times);
}

function connectUs(sockets: Sockets, port: number): number {
  const { openSocket, setOption, bindTo, listenWith, connectTo, acceptNow, closeFd } = sockets;
  const at: InetAddress = { family: 'ipv4', host: '127.0.0.1', port };
  const listener = must(openSocket('tcp', 'ipv4'));
  must(setOption(listener, SOL_SOCKET, SO_REUSEADDR, ON));
  must(bindTo(listener, at));
  must(listenWith(listener, 16));
  const times = Array.from({ length: TIMES }, () => {
    const fd = must(openSocket('tcp', 'ipv4'));
    must(setOption(fd, SOL_SOCKET, SO_LINGER, NO_LINGER));
    const begun = performance.now();
    const result = connectTo(fd, at);
    const ms = performance.now() - begun;
    must(result);
    const accepted = acceptNow(listener);
    must(closeFd(fd));
    // Over loopback it has come already, or the reset comes first and nothing is left either.
    if (accepted >= 0) must(closeFd(accepted));
    return ms * 1_000;
  });
  must(closeFd(listener));
  return median(times);
}

function must(result: number): number {
  if (result < 0) throw new Error(`a call failed with errno ${-result}`);
  return result;
}

function memoryNow(): Memory {
  const slab = slabIn(slabinfo(), SLAB);
  const available = Number(/^MemAvailable: +(\d+) kB/m.exec(readFileSync('/proc/meminfo', 'utf8'))?.[1]);
  return {
    entries: timeWaits(),
    slabBytes: slab?.bytes,
    objectBytes: slab?.objectBytes,
    availableBytes: available * 1024,
  };
}

function slabinfo(): string {
  try {
    return readFileSync('/proc/slabinfo', 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EACCES') throw error;
    return '';
  }
}

function growth(before: Memory, after: Memory): Memory {
  const isKnown = before.slabBytes !== undefined && after.slabBytes !== undefined;
  return {
    entries: after.entries - before.entries,
    slabBytes: isKnown ? after.slabBytes - before.slabBytes : undefined,
    objectBytes: after.objectBytes,
    availableBytes: before.availableBytes - after.availableBytes,
  };
}

function describe(figures: TimeWaitFigures): string {
  const { calls, memory, rounds, entries } = figures;
  const many = entries.toLocaleString('en-US');
  const rows = CALLS.map((call) => {
    const { none, many: among, 'none again': again } = calls[call];
    return [
      call,
      median(none).toFixed(2),
      median(among).toFixed(2),
      format(estimate(differences(among, none))),
      format(estimate(differences(again, none))),
    ];
  });
  const confidence = (100 * estimate(calls[CALLS[0]].none).confidence).toFixed(1);
  return [
    `${describeCircumstances(figures)}; ${rounds} rounds of ${TIMES} calls, ${many} TIME_WAIT.`,
    table(['', 'none, µs', `${many}, µs`, 'more by µs', 'none again, more by µs'], rows),
    `In parentheses the interval that has the median with ${confidence} % confidence.`,
    table(['memory', 'bytes an entry'], memoryRows(memory, entries)),
  ].join('\n\n');
}

function memoryRows(memory: readonly Memory[], entries: number): readonly (readonly string[])[] {
  const objectBytes = memory[0]?.objectBytes;
  // Entries that the kernel had put aside fill up before a slab grows: rounds after the first may show less.
  const slabs = memory.flatMap(({ slabBytes }) => (slabBytes === undefined ? [] : [slabBytes / entries]));
  const available = estimate(memory.map(({ availableBytes }) => availableBytes / entries));
  return [
    [`the object in the slab ${SLAB}`, objectBytes === undefined ? 'not for this user' : `${objectBytes}`],
    [
      'growth of that slab, at most',
      slabs.length === 0 ? 'not for this user' : Math.max(...slabs).toFixed(0),
    ],
    ['less MemAvailable', format(available)],
  ];
}

function format({ median: middle, low, high }: Estimate): string {
  return `${middle.toFixed(2)} (${low.toFixed(2)} to ${high.toFixed(2)})`;
}
