// The ways to run one server that are compared: bare, kept by holdfast, and kept by its peers.

import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { temporaryFolder } from '../../test/support/temporary.js';
import { until } from '../../test/support/wait.js';
import { installPackages, packagesFolder } from '../support/packages.js';
import { freePort, pathOf } from '../support/plain.js';
import { run, type Started, start } from '../support/process.js';
import { fromProject } from '../support/project.js';
import { type Kept, whenAnswering } from './kept.js';

/** One server in one of the ways to run it. */
export interface Candidate {
  readonly name: string;
  start(work?: Work): Promise<Kept>;
}

export interface Work {
  /** What each request of the Node server waits for. Default 0. */
  readonly delayMs?: number;
  /** How long the Node server works before it listens. Default 0. */
  readonly bootMs?: number;
  /** Whether the Node server ends gracefully. Default false. */
  readonly isGraceful?: boolean;
}

/** A server's command line. */
export type ServerCommand = (port: number, work: Work) => readonly string[];

/** The exact version that is compared, installed below `.cache`: nothing else of the project needs it. */
export const PM2_VERSION = '7.0.4';

/** The row of a server that holdfast learns the address from. */
export const HOLDFAST = 'holdfast run';

const httpJs = fromProject('bench', 'servers', 'http.js');
const clusterJs = fromProject('bench', 'servers', 'cluster.js');
const holdfastMain = fromProject('dist', 'cli', 'main.cjs');
const PM2 = [`pm2@${PM2_VERSION}`];
const pm2Main = join(packagesFolder(PM2), 'node_modules', 'pm2', 'bin', 'pm2');

export const nodeServer: ServerCommand = (port, work) => [
  process.execPath,
  httpJs,
  ...httpArguments(port, work),
];

function httpArguments(
  port: number,
  { delayMs = 0, bootMs = 0, isGraceful = false }: Work,
): readonly string[] {
  return [`${port}`, `--delay=${delayMs}`, `--boot=${bootMs}`, ...(isGraceful ? ['--graceful'] : [])];
}

/** One worker that answers at once. */
export const nginxServer: ServerCommand = (port) => [
  pathOf('nginx'),
  '-c',
  configured('nginx.conf', { PORT: port }),
];

/** A copy of a template of `bench/servers` in a folder of its own, which is its `@DIR@`; gives its path. */
export function configured(template: string, values: Readonly<Record<string, number>>): string {
  const folder = temporaryFolder();
  let text = readFileSync(fromProject('bench', 'servers', template), 'utf8').replaceAll('@DIR@', folder);
  for (const [name, value] of Object.entries(values)) text = text.replaceAll(`@${name}@`, `${value}`);
  const file = join(folder, template);
  writeFileSync(file, text);
  return file;
}

export const bare = (server: ServerCommand, name = 'bare'): Candidate => ({
  name,
  start: async (work = {}) => {
    const port = await freePort();
    const started = start(server(port, work));
    return whenAnswering({ port, root: started.pid, bare: true, stop: () => started.stop() });
  },
});

interface HoldfastOptions {
  readonly name?: string;
  readonly flags?: readonly string[];
  readonly workers?: number;
}

export const underHoldfast = (
  server: ServerCommand,
  { name = HOLDFAST, flags = [], workers }: HoldfastOptions = {},
): Candidate => ({
  name,
  start: async (work = {}) => {
    const port = await freePort();
    const stateFolder = temporaryFolder();
    const keeper = startHoldfast(flags, server(port, work), stateFolder);
    const kept = await whenAnswering({
      port,
      root: keeper.pid,
      bare: false,
      workers,
      stop: () => keeper.stop(),
      reload: () =>
        run([process.execPath, holdfastMain, 'reload', KEEPER_NAME], {
          env: stateIn(stateFolder),
          timeoutMs: RELOAD_TIMEOUT_MS,
        }),
    });
    await keeper.line(HOLDS);
    return kept;
  },
});

export const nodeGivenItsFd: Candidate = {
  name: 'holdfast run --listen --no-trap',
  start: async (work = {}) => {
    const port = await freePort();
    const flags = ['--listen', `127.0.0.1:${port}`, '--no-trap'];
    const keeper = startHoldfast(flags, [...nodeServer(port, work), '--fd=3']);
    return whenAnswering({ port, root: keeper.pid, bare: false, stop: () => keeper.stop() });
  },
};

export const underPm2 = (workers: number, name: string): Candidate => ({
  name,
  start: async (work = {}) => {
    const port = await freePort();
    const home = temporaryFolder();
    const env = { PM2_HOME: home, PM2_DISABLE_VERSION_CHECK: 'true' };
    const server = [httpJs, '-i', `${workers}`, '--name', 'server', '--', ...httpArguments(port, work)];
    const starter = start([process.execPath, pm2Main, 'start', ...server], { env });
    const stop = async (): Promise<void> => {
      await run([process.execPath, pm2Main, 'kill'], { env }).catch(() => undefined); // ended by force below
      await starter.stop(0);
    };
    const pidFile = join(home, 'pm2.pid');
    await until('the daemon of pm2', () => existsSync(pidFile), { timeoutMs: 20_000 });
    const root = Number(readFileSync(pidFile, 'utf8'));
    const reload = (): Promise<string> =>
      run([process.execPath, pm2Main, 'reload', 'server'], { env, timeoutMs: RELOAD_TIMEOUT_MS });
    return whenAnswering({ port, root, bare: false, workers, stop, reload });
  },
});

export const nodeUnderPm2: Candidate = underPm2(1, `pm2 ${PM2_VERSION}, cluster mode`);

export const inCluster = (workers: number, name: string, policy: 'rr' | 'none' = 'rr'): Candidate => ({
  name,
  start: async (work = {}) => {
    const port = await freePort();
    const env = { NODE_CLUSTER_SCHED_POLICY: policy };
    const command = [process.execPath, clusterJs, `${workers}`, ...httpArguments(port, work)];
    const primary = start(command, { env });
    return whenAnswering({ port, root: primary.pid, bare: false, workers, stop: () => primary.stop() });
  },
});

export const nodeCluster: Candidate = inCluster(1, "Node's cluster module");

export const nodeUnderStartServer: Candidate = {
  name: 'start_server',
  start: async (work = {}) => {
    const port = await freePort();
    const at = `--port=127.0.0.1:${port}`;
    const starter = start([pathOf('start_server'), at, '--', ...nodeServer(port, work)]);
    return whenAnswering({
      port,
      root: starter.pid,
      bare: false,
      stop: () => starter.stop(),
      reload: async () => starter.child.kill('SIGHUP'),
    });
  },
};

/** The Node server as users keep it. */
export const heldByHoldfast: Candidate = underHoldfast(nodeServer);

/** Every way that has a supervisor. */
export const supervisors: readonly Candidate[] = [
  heldByHoldfast,
  nodeGivenItsFd,
  nodeUnderPm2,
  nodeCluster,
  nodeUnderStartServer,
];

/** A running `holdfast run` with a state folder of its own. */
export function startHoldfast(
  flags: readonly string[],
  command: readonly string[],
  stateFolder: string = temporaryFolder(),
): Started {
  return start([process.execPath, holdfastMain, 'run', '--name', KEEPER_NAME, ...flags, '--', ...command], {
    env: stateIn(stateFolder),
  });
}

function stateIn(folder: string): Readonly<Record<string, string>> {
  return { HOLDFAST_STATE_DIR: folder };
}

const KEEPER_NAME = 'bench';
const RELOAD_TIMEOUT_MS = 60_000;

/** What holdfast says once a learned address is confirmed to be held. */
export const HOLDS: RegExp = /keeps .* for pid/;

/** Installs pm2 unless it is there. @throws Error with npm's words. */
export async function installPm2(): Promise<void> {
  await installPackages(PM2);
}
