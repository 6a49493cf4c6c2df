import { basename, join, resolve } from 'node:path';
import { defaultName } from '../model/keeper-name.js';
import { programOf } from '../model/program.js';
import type { CgroupFacts } from './cgroup.js';
import { type ContainerReport, type PublishedPort, publishedPort } from './container.js';

/** A process as far as its supervisor can be told from it. What costs a look is looked at when it is asked for. */
export interface SeenProcess {
  readonly pid: number;
  readonly comm: string;
  readonly cmdline: readonly string[];
  readonly exe: () => string | undefined;
  readonly cwd: () => string | undefined;
  readonly env: (name: string) => string | undefined;
}

/** A process, what is above it, and where both are. */
export interface Lineage {
  readonly self: SeenProcess;
  /** Its parent first. */
  readonly parents: readonly SeenProcess[];
  readonly cgroup: CgroupFacts;
  /** That of the one who asks: what both are in is no supervisor of the other. */
  readonly own: CgroupFacts;
  readonly hasTerminal: boolean;
  /** The container that `self` is in or forwards to. */
  readonly container: ContainerReport | null;
  /** By whose systemd a user's service is run; undefined when that is ours. */
  readonly otherUser: string | undefined;
}

export type SupervisorKind =
  | 'systemd'
  | 'systemd-socket'
  | 'container'
  | 'pm2'
  | 'supervisord'
  | 'runit'
  | 's6'
  | 'daemontools'
  | 'openrc'
  | 'forever'
  | 'holdfast'
  | 'watcher'
  | 'master'
  | 'procfile'
  | 'runner';

/** Who would start a process again, or ends with it. */
export interface Supervisor {
  readonly kind: SupervisorKind;
  /** Unit, container, app, service or keeper; otherwise the program, `nodemon`. */
  readonly name: string;
  /** Its own process; null for systemd and containers. */
  readonly pid: number | null;
  /**
   * What it does when the process is killed. `depends`: its settings decide. `on-change`: it starts it again once a
   * file changes. `ends`: it ends too, a Procfile's with all that it runs.
   */
  readonly restarts: 'yes' | 'depends' | 'on-change' | 'ends';
  /** The command that stops the process for good; null when there is none that is right for all. */
  readonly stop: readonly string[] | null;
}

/** Finds the one that has to be asked to stop a process; undefined when nobody would start it again. Pure. */
export function findSupervisor(lineage: Lineage): Supervisor | undefined {
  const { cgroup, own, container, self } = lineage;
  const unit = unitAbove(lineage);
  const forwards = publishedPort(self.cmdline);
  if (container === null && forwards !== undefined) return unknownContainer(forwards);
  if (container !== null && container.id !== own.container?.id) {
    // A container that a unit runs (quadlet) is started again by the unit; docker's proxy is not its unit's.
    const isWithin = cgroup.container !== undefined;
    return (isWithin ? unit : undefined) ?? stopContainer(lineage, container);
  }
  const above = supervisorsIn(lineage);
  return (
    // These have a command for one of the many that they run; a unit would stop all.
    above.find(({ kind }) => MANAGERS.includes(kind)) ??
    unit ??
    // It has the sockets itself, also while no server of its runs.
    (isKeeper(self) ? keeper(self) : undefined) ??
    // The others may be nested, and an outer one would start an inner one again.
    above.findLast(({ kind }) => kind !== 'procfile' && kind !== 'runner') ??
    masterOf(lineage) ??
    endsWith(lineage, above)
  );
}

/** The one that ends with the process: only shells and the like are between them, which end when that does. */
function endsWith({ parents }: Lineage, above: readonly Supervisor[]): Supervisor | undefined {
  const lasting = parents.findIndex(({ cmdline }) => !passesEndOn(cmdline));
  const near = new Set((lasting < 0 ? parents : parents.slice(0, lasting + 1)).map(({ pid }) => pid));
  const ends = above.filter(({ pid }) => pid !== null && near.has(pid));
  return ends.find(({ kind }) => kind === 'procfile') ?? ends.find(({ kind }) => kind === 'runner');
}

/** Programs that run another one and end with it. */
const WRAPPERS: ReadonlySet<string> = new Set([
  ...[
    'cross-env',
    'cross-env-shell',
    'dotenv',
    'env-cmd',
    'time',
    'timeout',
    'sudo',
    'doas',
    'tini',
    'dumb-init',
  ],
]);

/** An interactive shell goes on: it has no script. */
function passesEndOn(cmdline: readonly string[]): boolean {
  const { name } = programOf(cmdline);
  const isScript = cmdline.length > 1 && /^(?:ba|da|z|k)?sh$/.test(basename(cmdline[0] ?? ''));
  return isScript || RUNNERS.has(name) || WRAPPERS.has(name);
}

/** Docker's proxy when docker does not answer. The proxy alone must not be stopped: its container would go on. */
function unknownContainer({ containerIp, containerPort }: PublishedPort): Supervisor {
  const name = `${containerIp}:${containerPort}`;
  return { kind: 'container', name, pid: null, restarts: 'depends', stop: null };
}

const MANAGERS: readonly SupervisorKind[] = ['pm2', 'supervisord', 'runit', 's6', 'daemontools', 'openrc'];

/**
 * The service that a process belongs to. Somebody's shell may be in one too (sshd, cron, a CI runner), and what it
 * started is not the service's: it has a terminal, or is in the same one as we are.
 */
function unitAbove({ cgroup, own, hasTerminal, otherUser }: Lineage): Supervisor | undefined {
  const name = cgroup.unit ?? cgroup.userUnit;
  const isOurs = cgroup.unit === own.unit && cgroup.userUnit === own.userUnit;
  if (name === undefined || hasTerminal || isOurs) return undefined;
  const machine = otherUser === undefined ? [] : [`--machine=${otherUser}@`];
  const user = cgroup.userUnit === undefined ? [] : ['--user', ...machine];
  const stop = ['systemctl', ...user, 'stop', name];
  return { kind: 'systemd', name, pid: null, restarts: 'depends', stop };
}

function stopContainer({ parents }: Lineage, container: ContainerReport): Supervisor {
  const { id, runtime } = container;
  const name = container.name ?? (/^[0-9a-f]{64}$/.test(id) ? id.slice(0, 12) : id);
  const stop = container.podUid === null ? stopOf(runtime, name, parents) : null;
  return { kind: 'container', name, pid: null, restarts: 'depends', stop };
}

function stopOf(
  runtime: ContainerReport['runtime'],
  name: string,
  parents: readonly SeenProcess[],
): readonly string[] | null {
  switch (runtime) {
    case 'docker':
    case 'podman':
      return [runtime, 'stop', name];
    case 'containerd':
      return ['nerdctl', 'stop', name];
    case 'lxc':
      return stopLxc(name, parents);
    case 'nspawn':
    case 'machine':
      return ['machinectl', 'poweroff', name];
    case 'libvirt':
      return ['virsh', 'shutdown', name];
    case 'cri-o':
    case 'kubernetes':
      // The pod's name is known to the API server only.
      return null;
  }
}

/** `[lxc monitor] /var/snap/lxd/common/lxd/containers NAME`: the folder names who made the container. */
function stopLxc(name: string, parents: readonly SeenProcess[]): readonly string[] {
  const monitor = parents
    .map(({ cmdline }) => cmdline.join(' '))
    .find((line) => line.startsWith('[lxc monitor]'));
  if (monitor?.includes('/incus/')) return ['incus', 'stop', name];
  if (monitor?.includes('/lxd/')) return ['lxc', 'stop', name];
  return ['lxc-stop', '-n', name];
}

/** All that run something else for a living, nearest first. */
function supervisorsIn({ self, parents }: Lineage): readonly Supervisor[] {
  return parents.flatMap((parent, index) => {
    const child = parents[index - 1] ?? self;
    return supervisorBy(parent, child) ?? [];
  });
}

/** What a process is to `child`, which it started. */
function supervisorBy(parent: SeenProcess, child: SeenProcess): Supervisor | undefined {
  const { pid, cmdline } = parent;
  const { name, args, flags } = programOf(cmdline);
  if (cmdline[0]?.includes('God Daemon (')) return pm2(parent, child);
  if (name === 'supervisord') return supervisord(parent, child);
  const service = SERVICES[name];
  if (service !== undefined) return service(parent, args);
  if (name === 'forever' || cmdline.some((word) => word.endsWith('/forever/bin/monitor'))) {
    // `forever stop` takes the pid of what it runs.
    return {
      kind: 'forever',
      name: 'forever',
      pid,
      restarts: 'yes',
      stop: ['forever', 'stop', `${child.pid}`],
    };
  }
  if (isKeeper(parent)) return keeper(parent);
  if (isWatcher(name, args, flags)) return ended('watcher', name, pid, 'on-change');
  if (name === 'overmind' || (name === 'tmux' && cmdline.some((word) => word.includes('overmind')))) {
    // In the folder of the Procfile, where its socket is.
    return { kind: 'procfile', name: 'overmind', pid, restarts: 'ends', stop: ['overmind', 'stop'] };
  }
  if (PROCFILES.has(name)) return ended('procfile', name, pid, 'ends');
  if (!RUNNERS.has(name)) return undefined;
  return { kind: 'runner', name, pid, restarts: 'ends', stop: null };
}

/** One that has no command of its own to stop what it runs: it is ended itself. */
function ended(
  kind: SupervisorKind,
  name: string,
  pid: number,
  restarts: Supervisor['restarts'],
  signal: readonly string[] = [],
): Supervisor {
  return { kind, name, pid, restarts, stop: ['kill', ...signal, `${pid}`] };
}

/** pm2 gives each app its name and number in the environment. */
function pm2({ pid }: SeenProcess, child: SeenProcess): Supervisor {
  const name = child.env('name');
  const id = child.env('pm_id');
  const which = name ?? id;
  const stop = which === undefined ? null : ['pm2', 'stop', which];
  return { kind: 'pm2', name: which ?? 'pm2', pid, restarts: 'yes', stop };
}

/** @see http://supervisord.org/subprocess.html, Subprocess Environment */
function supervisord({ pid }: SeenProcess, child: SeenProcess): Supervisor {
  const name = child.env('SUPERVISOR_PROCESS_NAME');
  const group = child.env('SUPERVISOR_GROUP_NAME');
  if (name === undefined)
    return { kind: 'supervisord', name: 'supervisord', pid, restarts: 'depends', stop: null };
  const which = group === undefined || group === name ? name : `${group}:${name}`;
  return {
    kind: 'supervisord',
    name: which,
    pid,
    restarts: 'depends',
    stop: ['supervisorctl', 'stop', which],
  };
}

/** One process beside each service, in the service's folder. By the name of that process's program. */
const SERVICES: Readonly<Record<string, (parent: SeenProcess, args: readonly string[]) => Supervisor>> = {
  runsv: (parent, args) => service('runit', parent, args, ['sv', 'down']),
  's6-supervise': (parent, args) => service('s6', parent, args, ['s6-svc', '-d']),
  supervise: (parent, args) => service('daemontools', parent, args, ['svc', '-d']),
  'supervise-daemon': ({ pid }, [name = '?']) => {
    return { kind: 'openrc', name, pid, restarts: 'yes', stop: ['rc-service', name, 'stop'] };
  },
};

function service(
  kind: SupervisorKind,
  { pid, cwd }: SeenProcess,
  [name = '?']: readonly string[],
  command: readonly string[],
): Supervisor {
  // `name` may be relative to a folder that a shell is not in.
  return { kind, name: basename(name), pid, restarts: 'yes', stop: [...command, cwd() ?? name] };
}

/** The file that the command links to, of this holdfast. */
export const OWN_MAIN: string = join(import.meta.dirname, '../../dist/cli/main.cjs');

/** `node /usr/bin/holdfast run …`, or the file that this links to. */
function isKeeper({ cmdline, cwd }: SeenProcess): boolean {
  const { path, args } = programOf(cmdline);
  const isOwn = path.endsWith('main.cjs') && resolve(cwd() ?? '/', path) === OWN_MAIN;
  const isHoldfast = isOwn || /(?:^|\/)holdfast(?:\/dist\/cli\/main\.cjs)?$/.test(path);
  return isHoldfast && args[0] === 'run';
}

/** A keeper's name is that of `--name` or of its folder. */
function keeper({ pid, cmdline, cwd }: SeenProcess): Supervisor {
  const end = cmdline.indexOf('--');
  const options = end < 0 ? cmdline : cmdline.slice(0, end);
  const joined = options.find((word) => word.startsWith('--name='))?.slice('--name='.length);
  const given = options.includes('--name') ? options[options.indexOf('--name') + 1] : joined;
  const folder = cwd();
  const name = given ?? (folder === undefined ? undefined : defaultName(folder));
  const stop = name === undefined ? ['kill', `${pid}`] : ['holdfast', 'stop', name];
  return { kind: 'holdfast', name: name ?? 'holdfast', pid, restarts: 'depends', stop };
}

const WATCHERS: ReadonlySet<string> = new Set([
  ...['nodemon', 'ts-node-dev', 'tsnd', 'node-dev', 'watchexec', 'entr', 'cargo-watch', 'reflex', 'air'],
  ...['CompileDaemon', 'gow', 'watchfiles', 'watchmedo', 'wgo', 'bacon', 'onchange', 'chokidar'],
]);

function isWatcher(name: string, args: readonly string[], flags: readonly string[]): boolean {
  if (WATCHERS.has(name)) return true;
  if (name === 'tsx' || name === 'dotnet') return args.includes('watch');
  // Node's own starts the same command line without it.
  return flags.some((flag) => /^--watch(?:$|=|-path)/.test(flag));
}

const PROCFILES: ReadonlySet<string> = new Set(['foreman', 'overmind', 'hivemind', 'honcho', 'goreman']);

const RUNNERS: ReadonlySet<string> = new Set([
  ...['npm', 'npx', 'yarn', 'pnpm', 'bun', 'concurrently', 'npm-run-all', 'run-p', 'run-s', 'turbo', 'nx'],
  ...['make', 'just', 'task', 'poetry', 'uv', 'pipenv', 'hatch', 'bundle', 'go', 'cargo'],
]);

/** Servers written in a language whose program is the same for all, and that start workers anew. */
const MASTERS: ReadonlySet<string> = new Set([
  ...['gunicorn', 'uvicorn', 'hypercorn', 'uwsgi', 'puma', 'unicorn', 'granian'],
]);

/** Programs that start everything, themselves too: the same program above says nothing. */
const COMMON =
  /^(?:(?:ba|da|z|k|c|tc|fi|a)?sh|busybox|toybox|coreutils|systemd|sudo|su|env|(?:python|ruby|perl|php|node|java|bun|deno)[\d.]*)$/;

/** The parent, when it is the same program and keeps a number of these: nginx, gunicorn, php-fpm, postgres. */
function masterOf({ self, parents: [parent] }: Lineage): Supervisor | undefined {
  if (parent === undefined || parent.pid === 1 || !isMaster(parent, self)) return undefined;
  const name = titleOf(parent) ?? programOf(parent.cmdline).name;
  // uWSGI takes SIGTERM for a reload, unless it has die-on-term.
  return ended('master', name, parent.pid, 'yes', name === 'uwsgi' ? ['-INT'] : []);
}

function isMaster(parent: SeenProcess, self: SeenProcess): boolean {
  const { name } = programOf(parent.cmdline);
  if (PROCFILES.has(name)) return false; // it calls itself a master
  if (titleOf(parent) !== undefined || MASTERS.has(name)) return true;
  const exe = parent.exe();
  if (exe === undefined || exe !== self.exe()) return false;
  if (!COMMON.test(basename(exe))) return true;
  // Node's cluster says so; other workers that run no other program keep the command line.
  if (self.env('NODE_UNIQUE_ID') !== undefined) return true;
  return !isShell(exe) && parent.cmdline.length > 1 && parent.cmdline.join('\0') === self.cmdline.join('\0');
}

function isShell(exe: string): boolean {
  return /(?:sh|box|coreutils|systemd|sudo|su|env)$/.test(exe);
}

/** `nginx: master process /usr/sbin/nginx`, `php-fpm: master process (…)`, `gunicorn: master [app]`. */
function titleOf({ cmdline }: SeenProcess): string | undefined {
  return /^([\w.-]+): master\b/.exec(cmdline[0] ?? '')?.[1];
}
