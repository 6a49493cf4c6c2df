// The servers and keepers whose reloads are compared.

import { descendantsOf } from '../../test/support/proc.js';
import { answering, type Kept, type Processes, whenAnswering } from '../keeper/kept.js';
import {
  type Candidate,
  configured,
  nginxServer,
  nodeServer,
  nodeUnderStartServer,
  PM2_VERSION,
  underHoldfast,
  underPm2,
} from '../keeper/peers.js';
import { freePort, pathOf } from '../support/plain.js';
import { start } from '../support/process.js';
import { fromProject } from '../support/project.js';

/** A kept server that can be reloaded. */
export interface Reloadable extends Kept {
  reload(): Promise<unknown>;
}

/** One way to reload a server with so much work per request. */
export interface ReloadCandidate {
  readonly name: string;
  start(delayMs: number): Promise<Reloadable>;
}

/** Of a server that knows nothing of a graceful end. */
export const plainHoldfast: ReloadCandidate = reloading(
  underHoldfast(nodeServer, { name: 'holdfast reload' }),
  { isGraceful: false },
);

export const gracefulHoldfast: ReloadCandidate = reloading(
  underHoldfast(nodeServer, {
    name: 'holdfast reload, --drain-wait queue',
    flags: ['--drain-wait', 'queue'],
  }),
  { isGraceful: true },
);

/** The one way that has a gap by its nature. */
const restartedBare: Candidate = {
  name: 'bare, stop and start',
  start: async (work = {}) => {
    const port = await freePort();
    const spawn = () => start(nodeServer(port, work));
    let server = spawn();
    return whenAnswering({
      port,
      root: server.pid,
      bare: true,
      stop: () => server.stop(),
      reload: async () => {
        await server.stop();
        server = spawn();
        await answering(port);
      },
    });
  },
};

/** Two workers of 8 threads: sync workers could not answer as many requests as the load has. */
const gunicorn: Candidate = {
  name: 'gunicorn, HUP',
  start: async ({ delayMs = 0 } = {}) => {
    const port = await freePort();
    const server = [pathOf('gunicorn'), '--chdir', fromProject('test', 'servers')];
    const flags = ['-w', '2', '--threads', '8', '--bind', `127.0.0.1:${port}`];
    const command = [pathOf('python3'), '-B', ...server, ...flags, 'wsgi:app'];
    return master(port, command, { signal: 'SIGHUP', workers: 2, env: { DELAY_MS: `${delayMs}` } });
  },
};

const nginx: Candidate = {
  name: 'nginx, HUP',
  start: async (work = {}) => {
    const port = await freePort();
    return master(port, nginxServer(port, work), { signal: 'SIGHUP' });
  },
};

/** Only haproxy itself is reloaded; the two servers behind it stay. */
const haproxy: Candidate = {
  name: 'haproxy, USR2',
  start: async (work = {}) => {
    const ports = [await freePort(), await freePort(), await freePort()] as const;
    const [port, ...backends] = ports;
    const servers = backends.map((backend) => start(nodeServer(backend, work)));
    for (const backend of backends) await answering(backend);
    const conf = configured('haproxy.conf', { PORT: port, BACKEND1: backends[0], BACKEND2: backends[1] });
    const front = await master(port, [pathOf('haproxy'), '-W', '-f', conf], { signal: 'SIGUSR2' });
    const stop = async (): Promise<void> => {
      await Promise.all([front.stop(), ...servers.map((server) => server.stop())]);
    };
    // Who answers is behind it and none of its children.
    const processes = async (): Promise<Processes> => ({
      supervisor: [front.root],
      server: descendantsOf(front.root),
    });
    return { ...front, stop, processes };
  },
};

/** A server with a master process, which a signal tells to replace its workers. */
function master(
  port: number,
  command: readonly string[],
  { signal, workers, env }: MasterOptions,
): Promise<Kept> {
  const started = start(command, { env });
  return whenAnswering({
    port,
    root: started.pid,
    bare: false,
    workers,
    stop: () => started.stop(),
    reload: async () => started.child.kill(signal),
  });
}

interface MasterOptions {
  /** What reloads it. */
  readonly signal: NodeJS.Signals;
  readonly workers?: number;
  readonly env?: Readonly<Record<string, string>>;
}

function reloading(
  { name, start: startWith }: Candidate,
  { isGraceful }: { readonly isGraceful: boolean },
): ReloadCandidate {
  return {
    name,
    start: async (delayMs) => {
      const kept = await startWith({ delayMs, isGraceful });
      const { reload } = kept;
      if (reload === undefined) throw new TypeError(`${name} cannot be reloaded`);
      return { ...kept, reload };
    },
  };
}

export const reloadCandidates: readonly ReloadCandidate[] = [
  plainHoldfast,
  gracefulHoldfast,
  ...[
    underPm2(2, `pm2 ${PM2_VERSION} reload, 2 workers`),
    gunicorn,
    nginx,
    haproxy,
    { ...nodeUnderStartServer, name: 'start_server, HUP' },
    restartedBare,
  ].map((candidate) => reloading(candidate, { isGraceful: true })),
];
