// `npm run bench -- fan`: one command on many hosts, by holdfast and by its peers. What is measured is in docs/benchmarks.md.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Requirement } from '../scripts/requirements.js';
import { type Machines, openMachines } from '../test/fan/machines.js';
import { temporaryFolder } from '../test/support/temporary.js';
import { runBench } from './support/bench.js';
import { withCircumstances } from './support/circumstances.js';
import { type Circumstances, describeCircumstances } from './support/docs.js';
import { pathOf } from './support/plain.js';
import { run, type Started, start, withCleanup } from './support/process.js';
import { fromProject } from './support/project.js';
import { judgeRatio, ratios, shuffled, type Verdict } from './support/rounds.js';
import { type Estimate, estimate, median } from './support/statistics.js';
import { table } from './support/table.js';

const USAGE = `Usage: npm run bench -- fan [options]
  --rounds N   default 9
  --small      40 hosts instead of 100, 1,200 rsh commands in a row instead of 3,000: a quick look, without meaning
  --docs       put the figures into docs/benchmarks.md
  --told       measure nothing: tell the figures of the last time
`;

const FANOUT = 32;

interface Aim {
  readonly machines: Machines<Started>;
  readonly hosts: number;
}

/** The command lines that are compared, on the client's machine. All run `echo hello` at hosts h1, h2 … */
const RSH = {
  'pdsh -R rsh': pdshRsh,
  'pdsh -R rsh, again': pdshRsh,
  'holdfast fan --rsh': ({ machines, hosts }: Aim) => holdfast(machines, hosts, ['--rsh']),
} as const;
const SSH = {
  'xargs ssh': xargs,
  'xargs ssh, again': xargs,
  'pdsh -R ssh': ({ machines: { user, sshConfig }, hosts }: Aim) => [
    ...['env', `PDSH_SSH_ARGS_APPEND=-F ${sshConfig}`, pathOf('pdsh'), '-R', 'ssh', '-l', user],
    ...['-f', `${FANOUT}`, '-w', `h[1-${hosts}]`, 'echo hello'],
  ],
  clush: ({ machines: { user, sshConfig }, hosts }: Aim) => [
    ...[pathOf('clush'), '-l', user, '-f', `${FANOUT}`, '-o', `-F ${sshConfig}`],
    ...['-w', `h[1-${hosts}]`, 'echo hello'],
  ],
  'parallel-ssh': ({ machines: { user, sshConfig }, hosts }: Aim) => [
    ...[pathOf('parallel-ssh'), '-l', user, '-p', `${FANOUT}`, '-P', '-x', `-F ${sshConfig}`],
    ...['-H', namesOf(hosts).join(' '), 'echo hello'],
  ],
  'holdfast fan': ({ machines, hosts }: Aim) =>
    holdfast(machines, hosts, ['--ssh-arg', '-F', '--ssh-arg', machines.sshConfig]),
} as const;

function pdshRsh({ machines: { user }, hosts }: Aim): string[] {
  return [
    ...[pathOf('pdsh'), '-R', 'rsh', '-l', user, '-f', `${FANOUT}`],
    ...['-w', `h[1-${hosts}]`, 'echo hello'],
  ];
}

/** As little as there can be around ssh. */
function xargs({ machines: { user, sshConfig }, hosts }: Aim): string[] {
  const ssh = `xargs -P${FANOUT} -I HOST ${pathOf('ssh')} -n -F ${sshConfig} -l ${user} HOST echo hello`;
  return ['sh', '-c', `printf '%s\\n' ${namesOf(hosts).join(' ')} | ${ssh}`];
}

function holdfast({ user }: Machines<Started>, hosts: number, options: readonly string[]): string[] {
  return [
    ...[process.execPath, fromProject('dist', 'cli', 'main.cjs'), 'fan', ...options, '-l', user],
    ...['-f', `${FANOUT}`, '-w', `h[1-${hosts}]`, '--', 'echo hello'],
  ];
}

function namesOf(hosts: number): string[] {
  return Array.from({ length: hosts }, (_, index) => `h${index + 1}`);
}

type Row = keyof typeof RSH | keyof typeof SSH;
const RSH_ROWS = Object.keys(RSH) as (keyof typeof RSH)[];
const SSH_ROWS = Object.keys(SSH) as (keyof typeof SSH)[];
const WAYS: Readonly<Record<Row, (aim: Aim) => string[]>> = { ...RSH, ...SSH };

/** What one command line did. */
interface Run {
  readonly failed: number;
  readonly perSecond: number;
  readonly cpuSeconds: number;
  readonly largestMb: number;
  /** Reserved ports in TIME_WAIT afterwards. */
  readonly clientTimeWaits: number;
  readonly serverTimeWaits: number;
}

interface FanFigures extends Circumstances {
  readonly hosts: number;
  readonly runs: Readonly<Record<Row, Run[]>>;
  /** Commands by rsh without a pause, hosts by hosts. */
  readonly inARow: Readonly<Record<'pdsh -R rsh' | 'holdfast fan --rsh', Omit<Run, 'largestMb'>>>;
  readonly commandsInARow: number;
}

const PEERS: readonly Requirement[] = ['pdsh', 'clush', 'parallel-ssh', 'ssh'];

export function main(args: readonly string[]): Promise<void> {
  return runBench<FanFigures>(
    {
      name: 'fan',
      usage: USAGE,
      needs: [...PEERS, 'sshd', 'rshd', 'inetd', 'ip', 'ss', 'unshare', 'nsenter', 'python3'],
      defaultRounds: 9,
      isSandboxed: true,
      prepare: async () => {
        if (process.getuid?.() !== 0) throw new Error('rsh is for root alone: run this bench as root');
      },
      measure: (rounds, isSmall) => withCircumstances(PEERS, () => measure(rounds, isSmall)),
      describe,
    },
    args,
  );
}

async function measure(rounds: number, isSmall: boolean): Promise<Omit<FanFigures, keyof Circumstances>> {
  const hosts = isSmall ? 40 : 100;
  const times = 30;
  const rows = [...RSH_ROWS, ...SSH_ROWS];
  const runs = Object.fromEntries(rows.map((row) => [row, [] as Run[]])) as Record<Row, Run[]>;
  const inARow: Partial<Record<Row, Run>> = {};
  await withCleanup(async () => {
    const machines = await openMachines<Started>(hosts, {
      folder: temporaryFolder(),
      start: (command, how) => start(command, { hasInput: how === 'holds' }),
      pathOf,
    });
    const aim = { machines, hosts };
    for (let round = 1; round <= rounds; round++) {
      process.stderr.write(`fan: round ${round} of ${rounds}\n`);
      for (const row of [...shuffled(RSH_ROWS), ...shuffled(SSH_ROWS)]) {
        await forget(machines);
        runs[row].push(await runOne(aim, row));
      }
    }
    for (const row of ['pdsh -R rsh', 'holdfast fan --rsh'] as const) {
      process.stderr.write(`fan: ${times * hosts} commands in a row: ${row}\n`);
      await forget(machines);
      const all: Run[] = [];
      for (let time = 0; time < times; time++) all.push(await runOne(aim, row));
      inARow[row] = together(all, hosts);
    }
  });
  return { hosts, runs, inARow: inARow as FanFigures['inARow'], commandsInARow: times * hosts };
}

async function runOne(aim: Aim, row: Row): Promise<Run> {
  const { machines, hosts } = aim;
  const file = join(temporaryFolder(), 'took');
  const measured = [pathOf('python3'), fromProject('bench', 'servers', 'measured.py'), file];
  const told = start(machines.client([...measured, ...WAYS[row](aim)]));
  await told.closed;
  const took = JSON.parse(readFileSync(file, 'utf8')) as {
    readonly seconds: number;
    readonly cpuSeconds: number;
    readonly largestMb: number;
  };
  const done = told.stdout.filter((line) => line.endsWith('hello')).length;
  return {
    failed: hosts - done,
    perSecond: done / took.seconds,
    cpuSeconds: took.cpuSeconds,
    largestMb: took.largestMb,
    clientTimeWaits: await timeWaits(machines.client),
    serverTimeWaits: await timeWaits(machines.server),
  };
}

function together(runs: readonly Run[], hosts: number): Run {
  const sum = (of: (run: Run) => number): number => runs.reduce((all, run) => all + of(run), 0);
  const failed = sum((run) => run.failed);
  const done = runs.length * hosts - failed;
  const seconds = sum((run) => (run.perSecond === 0 ? 0 : (hosts - run.failed) / run.perSecond));
  const last = runs.at(-1);
  return {
    failed,
    perSecond: done / seconds,
    cpuSeconds: sum((run) => run.cpuSeconds),
    largestMb: Math.max(...runs.map(({ largestMb }) => largestMb)),
    clientTimeWaits: last?.clientTimeWaits ?? 0,
    serverTimeWaits: last?.serverTimeWaits ?? 0,
  };
}

/** Reserved ports but the server's own. */
async function timeWaits(inside: (command: readonly string[]) => string[]): Promise<number> {
  const filter = '( sport >= :512 and sport <= :1023 and sport != :514 )';
  const text = await run(inside([pathOf('ss'), '-Htan', 'state', 'time-wait', filter]));
  return text === '' ? 0 : text.split('\n').length;
}

/** Everybody begins without TIME_WAITs on both machines. */
async function forget({ client, server }: Machines<Started>): Promise<void> {
  const code = `const { destroyLeftovers } = await import(${JSON.stringify(fromProject('dist/kernel/sock-destroy.js'))});
    destroyLeftovers({ port: { from: 1, to: 65_535 }, states: ['TIME_WAIT', 'FIN_WAIT2'] });`;
  for (const inside of [client, server])
    await run(inside([process.execPath, '--input-type=module', '-e', code]));
}

function describe(figures: FanFigures): string {
  const { hosts, runs, inARow, commandsInARow } = figures;
  const rounds = runs['pdsh -R rsh'].length;
  return [
    `${describeCircumstances(figures)}; ${rounds} rounds of ${hosts} hosts, ${FANOUT} at a time.`,
    tableOf('rsh', RSH_ROWS, runs, 'pdsh -R rsh'),
    tableOf('ssh', SSH_ROWS, runs, 'xargs ssh'),
    table(
      ['rsh, one run after another', 'commands', 'failed', 'done a minute', 'TIME_WAIT, client', 'server'],
      Object.entries(inARow).map(([row, { failed, perSecond, clientTimeWaits, serverTimeWaits }]) => [
        row,
        `${commandsInARow}`,
        `${failed}`,
        (perSecond * 60).toFixed(0),
        `${clientTimeWaits}`,
        `${serverTimeWaits}`,
      ]),
    ),
    table(['target', 'measured', 'verdict'], targetsOf(figures)),
  ].join('\n\n');
}

function tableOf(way: string, rows: readonly Row[], runs: FanFigures['runs'], base: Row): string {
  const head = [
    way,
    'commands/s',
    `÷ ${base}`,
    'failed',
    'CPU, s',
    'largest process, MB',
    'TIME_WAIT, client',
    'server',
  ];
  return table(
    head,
    rows.map((row) => {
      const own = runs[row];
      const middle = (of: (run: Run) => number): number => median(own.map(of));
      return [
        row,
        middle(({ perSecond }) => perSecond).toFixed(1),
        format(ratioOf(runs, row, base)),
        `${own.reduce((sum, { failed }) => sum + failed, 0)}`,
        middle(({ cpuSeconds }) => cpuSeconds).toFixed(2),
        middle(({ largestMb }) => largestMb).toFixed(0),
        middle(({ clientTimeWaits }) => clientTimeWaits).toFixed(0),
        middle(({ serverTimeWaits }) => serverTimeWaits).toFixed(0),
      ];
    }),
  );
}

function ratioOf(runs: FanFigures['runs'], row: Row, base: Row): Estimate {
  const rates = (name: Row): number[] => runs[name].map(({ perSecond }) => perSecond);
  return estimate(ratios(rates(row), rates(base)));
}

function targetsOf({ runs, inARow, commandsInARow }: FanFigures): readonly (readonly string[])[] {
  const own = inARow['holdfast fan --rsh'];
  const isEndless: Verdict =
    own.failed + own.clientTimeWaits + own.serverTimeWaits === 0 ? 'reached' : 'missed';
  const peers = ['pdsh -R ssh', 'clush', 'parallel-ssh'] as const;
  const rateOf = (row: Row): number => median(runs[row].map(({ perSecond }) => perSecond));
  const best = peers.reduce((a, b) => (rateOf(b) > rateOf(a) ? b : a));
  const ratio = ratioOf(runs, 'holdfast fan', best);
  return [
    [
      `rsh: ${commandsInARow} commands, none fails for want of a port, none leaves a reserved one in TIME_WAIT`,
      `${own.failed} failed, ${own.clientTimeWaits + own.serverTimeWaits} in TIME_WAIT`,
      isEndless,
    ],
    [
      `ssh: as many commands/s as the best peer, ${best}`,
      format(ratio),
      judgeRatio(ratio, 1, ratioOf(runs, 'xargs ssh, again', 'xargs ssh')),
    ],
  ];
}

function format({ median: middle, low, high }: Estimate): string {
  return `${middle.toFixed(2)} (${low.toFixed(2)} to ${high.toFixed(2)})`;
}
