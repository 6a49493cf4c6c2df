// The ways to run one server that are compared: bare, kept by holdfast, and kept by its peers.

import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { temporaryFolder } from '../../test/support/temporary.js';
import { until } from '../../test/support/wait.js';
import { freePort, pathOf } from '../support/plain.js';
import { run, type Started, start } from '../support/process.js';
import { benchFolder, fromProject } from '../support/project.js';
import { type Kept, whenAnswering } from './kept.js';

/** One server in one of the ways to run it. */
export interface Candidate {
  readonly name: string;
  start(work?: Work): Promise<Kept>;
}

export interface Work {
  /** What each request of the Node server waits for. Default 0. */
  readonly delayMs?: number;
}

/** A server's command line. */
export type ServerCommand = (port: number, work: Work) => readonly string[];

/** The exact version that is compared, installed below `.cache`: nothing else of the project needs it. */
export const PM2_VERSION = '7.0.4';

/** The row of a server that holdfast learns the address from. */
export const HOLDFAST = 'holdfast run';

const httpJs = fromProject('bench', 'servers', 'http.js');
const clusterJs = fromProject('bench', 'servers', 'cluster.js');
const holdfastMain = fromProject('dist', 'cli', 'main.js');
const pm2Folder = join(benchFolder, `pm2-${PM2_VERSION}`);
const pm2Main = join(pm2Folder, 'node_modules', 'pm2', 'bin', 'pm2');

export const nodeServer: ServerCommand = (port, { delayMs = 0 }) => [
  process.execPath,
  httpJs,
  `${port}`,
  `--delay=${delayMs}`,
];

export const bare = (server: ServerCommand, name = 'bare'): Candidate => ({
  name,
  start: async (work = {}) => {
    const port = await freePort();
    const started = start(server(port, work));
    return whenAnswering({ port, root: started.pid, bare: true, stop: () => started.stop() });
  },
});

export const underHoldfast = (server: ServerCommand): Candidate => ({
  name: HOLDFAST,
  start: async (work = {}) => {
    const port = await freePort();
    const keeper = startHoldfast([], server(port, work));
    const kept = await whenAnswering({ port, root: keeper.pid, bare: false, stop: () => keeper.stop() });
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

export const nodeUnderPm2: Candidate = {
  name: `pm2 ${PM2_VERSION}, cluster mode`,
  start: async ({ delayMs = 0 } = {}) => {
    const port = await freePort();
    const home = temporaryFolder();
    const env = { PM2_HOME: home, PM2_DISABLE_VERSION_CHECK: 'true' };
    const server = [httpJs, '-i', '1', '--name', 'server', '--', `${port}`, `--delay=${delayMs}`];
    const starter = start([process.execPath, pm2Main, 'start', ...server], { env });
    const stop = async (): Promise<void> => {
      await run([process.execPath, pm2Main, 'kill'], { env }).catch(() => undefined); // ended by force below
      await starter.stop(0);
    };
    const pidFile = join(home, 'pm2.pid');
    await until('the daemon of pm2', () => existsSync(pidFile), { timeoutMs: 20_000 });
    return whenAnswering({ port, root: Number(readFileSync(pidFile, 'utf8')), bare: false, stop });
  },
};

export const nodeCluster: Candidate = {
  name: "Node's cluster module",
  start: async ({ delayMs = 0 } = {}) => {
    const port = await freePort();
    const primary = start([process.execPath, clusterJs, `${port}`, `--delay=${delayMs}`]);
    return whenAnswering({ port, root: primary.pid, bare: false, stop: () => primary.stop() });
  },
};

export const nodeUnderStartServer: Candidate = {
  name: 'start_server',
  start: async (work = {}) => {
    const port = await freePort();
    const at = `--port=127.0.0.1:${port}`;
    const starter = start([pathOf('start_server'), at, '--', ...nodeServer(port, work)]);
    return whenAnswering({ port, root: starter.pid, bare: false, stop: () => starter.stop() });
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
export function startHoldfast(flags: readonly string[], command: readonly string[]): Started {
  return start([process.execPath, holdfastMain, 'run', '--name', 'bench', ...flags, '--', ...command], {
    env: { HOLDFAST_STATE_DIR: temporaryFolder() },
  });
}

/** What holdfast says once a learned address is confirmed to be held. */
export const HOLDS: RegExp = /keeps .* for pid/;

/** Installs pm2 unless it is there. @throws Error with npm's words. */
export async function installPm2(): Promise<void> {
  if (existsSync(pm2Main)) return;
  const options = ['--no-audit', '--no-fund', '--no-update-notifier', '--ignore-scripts', '--save-exact'];
  await run(['npm', 'install', '--prefix', pm2Folder, ...options, `pm2@${PM2_VERSION}`], {
    timeoutMs: 300_000,
  });
}
