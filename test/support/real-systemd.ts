import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import {
  chownSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import { unifiedMount } from '../../src/kernel/cgroup.js';
import { asNobody } from './keeper.js';
import { isAlive } from './proc.js';
import { type Exit, type Started, start } from './process.js';
import { binaryOf, whyMissing } from './requirement.js';
import { shellWords } from './shell.js';
import { temporaryFolder } from './temporary.js';
import { until } from './wait.js';

/** systemd itself, as process 1 of namespaces of its own, or that of a user below it. */
export interface RealSystemd {
  /** Process 1 of its pid namespace, as we number it. */
  readonly pid: number;
  /** The folder of its units, as we name it. */
  readonly units: string;
  /** The command that runs `command` in its network namespace, and else as here. */
  readonly inNetns: (command: readonly string[]) => string[];
  /** Runs a command inside and waits for its end, however it ends. */
  run(...command: readonly string[]): Promise<Ran>;
  /** Runs systemctl inside. @throws Error with all that it said when it fails. */
  systemctl(...args: readonly string[]): Promise<string>;
  /** A unit's properties, by name. @see systemctl(1), "show" */
  show(unit: string): Promise<Readonly<Record<string, string>>>;
}

export interface Ran {
  readonly exit: Exit;
  readonly stdout: string;
  readonly stderr: string;
}

/** It needs no more of units than these: without a journal, without a message bus. */
const TARGETS = ['basic', 'multi-user', 'network', 'shutdown', 'sockets', 'sysinit'];

/**
 * All that it would change is its own: /run, /dev, its cgroups, its network. The rest it may read only, above all
 * /proc/sys, where it raises limits of the whole machine. -n: no note for the machine's mount(8) in its /run.
 */
const SETUP = `
mount -n -t tmpfs -o mode=755 tmpfs /run
mkdir /run/systemd /run/dev /run/dev/pts /run/dev/shm
for name in null zero full random urandom tty; do
  : > /run/dev/$name
  mount -n --bind /dev/$name /run/dev/$name
done
ln -s /proc/self/fd /run/dev/fd
mount -n --rbind /run/dev /dev
mount -n --bind /proc/sys /proc/sys
mount -n -o remount,bind,ro /proc/sys
mount -n -t cgroup2 cgroup2 /sys/fs/cgroup
mount -n --bind "$1" /etc/systemd/system
mount -n -o remount,bind,ro /sys
mount -n -o remount,bind,ro /`;

/** What it is told by its environment; and no journal, whose place is taken by what `show` and `status` tell. */
const ENVIRONMENT = [
  ...['container=holdfast', 'SYSTEMD_UNIT_PATH=/etc/systemd/system'],
  `PATH=${['/usr/local/sbin', '/usr/local/bin', '/usr/sbin', '/usr/bin', '/sbin', '/bin'].join(':')}`,
];
const MANAGER = ['--system', '--unit=multi-user.target', '--log-target=null', '--show-status=no'];
/** What nsenter enters. */
const INSIDE = ['--mount', '--uts', '--ipc', '--net', '--pid', '--cgroup'];
/** A reload or a stop takes no longer. */
const COMMAND_MS = 100_000;
const PROGRAMS = ['/usr/lib/systemd/systemd', '/lib/systemd/systemd'];

/** Starts it. Ends with the test, with all that it has started. */
export async function startRealSystemd(): Promise<RealSystemd> {
  const units = temporaryFolder();
  writeTargets(units, TARGETS);
  const cgroup = makeCgroup();
  const systemd = start(
    inNamespaces(cgroup, units, ['env', '-i', ...ENVIRONMENT, managerProgram(), ...MANAGER]),
  );
  onTestFinished(async () => {
    await systemd.stop();
    removeCgroup(cgroup);
  });
  const pid = await until('its first process', () => childOf(systemd));
  const inside = [binaryOf('nsenter'), `--target=${pid}`];
  const manager = managerOf(
    { pid, units, inNetns: (command) => [...inside, '--net', '--', ...command] },
    (command) => [...inside, ...INSIDE, '--', ...command],
    ['systemctl', '--no-pager'],
  );
  await until('a system that runs', async () => {
    if (systemd.exit !== undefined) throw new Error(`systemd ended: ${systemd.stderr}`);
    // Degraded: something of the machine's own, such as one of its mounts, is not as it wants it.
    return /^(running|degraded)$/m.test((await manager.run('systemctl', 'is-system-running')).stdout);
  });
  return manager;
}

/** Starts the service manager of an ordinary user below it, as a login does: `systemctl --user` is its. */
export async function startUserManager(systemd: RealSystemd): Promise<RealSystemd> {
  const environment = [`XDG_RUNTIME_DIR=${USER_RUN}`, `HOME=${USER_HOME}`, `SYSTEMD_UNIT_PATH=${USER_UNITS}`];
  const unit = [
    ...['[Service]', 'Type=notify', 'User=nobody', 'Delegate=yes', 'KillMode=mixed', 'RuntimeDirectory=user'],
    ...[`Environment=${environment.join(' ')}`],
    `ExecStart=${managerProgram()} --user --log-target=null`,
  ];
  writeFileSync(join(systemd.units, 'user.service'), `${unit.join('\n')}\n`);
  const units = `/proc/${systemd.pid}/root${USER_UNITS}`;
  mkdirSync(units, { recursive: true });
  chownSync(units, NOBODY, -1);
  writeTargets(units, ['basic', 'default', 'exit', 'shutdown', 'sockets']);
  await systemd.systemctl('daemon-reload');
  await systemd.systemctl('start', 'user');
  const inside = [binaryOf('nsenter'), `--target=${systemd.pid}`, ...INSIDE, '--'];
  const around = (command: readonly string[]): readonly string[] => [
    ...inside,
    ...asNobody(['env', ...environment, ...command]),
  ];
  return managerOf({ ...systemd, units }, around, ['systemctl', '--user', '--no-pager']);
}

/** Whom `asNobody` makes of a command. */
const NOBODY = 65534;
const USER_RUN = '/run/user';
const USER_HOME = '/run/home';
const USER_UNITS = `${USER_HOME}/.config/systemd/user`;

function managerOf(
  facts: Pick<RealSystemd, 'pid' | 'units' | 'inNetns'>,
  inside: (command: readonly string[]) => readonly string[],
  systemctl: readonly string[],
): RealSystemd {
  const run = async (...command: readonly string[]): Promise<Ran> => {
    const started = start(inside(command));
    const exit = await started.end(COMMAND_MS);
    return { exit, stdout: started.stdout, stderr: started.stderr };
  };
  const ask = async (...args: readonly string[]): Promise<string> => {
    const { exit, stdout, stderr } = await run(...systemctl, ...args);
    if (exit.code === 0) return stdout;
    throw new Error(`systemctl ${args.join(' ')}: ${exit.code ?? exit.signal}\n${stdout}${stderr}`);
  };
  return {
    ...facts,
    run,
    systemctl: ask,
    show: async (unit) => {
      const lines = (await ask('show', unit)).split('\n').map((line) => /^(.*?)=(.*)$/.exec(line) ?? []);
      return Object.fromEntries(lines.map(([, name = '', value = '']) => [name, value]));
    },
  };
}

function writeTargets(folder: string, names: readonly string[]): void {
  for (const name of names) {
    writeFileSync(join(folder, `${name}.target`), '[Unit]\nDefaultDependencies=no\n');
  }
}

function managerProgram(): string {
  return PROGRAMS.find((path) => existsSync(path)) ?? '';
}

/** Why systemd cannot be run here; undefined when it can. Tried once. */
export function whyNoSystemd(): string | undefined {
  probed ??= { why: whyNot() };
  return probed.why;
}

let probed: { readonly why: string | undefined } | undefined;

function whyNot(): string | undefined {
  if (process.getuid?.() !== 0) return 'systemd is started in namespaces by root only';
  const program = (['systemctl', 'unshare', 'nsenter', 'setpriv'] as const).map(whyMissing).find(Boolean);
  if (program !== undefined) return program;
  if (unifiedMount() === undefined) return 'systemd needs cgroup v2, which is not mounted';
  let cgroup: string | undefined;
  try {
    cgroup = makeCgroup();
    const [command = '', ...args] = inNamespaces(cgroup, '/etc/systemd/system', ['true']);
    const { status, stderr } = spawnSync(command, args, { encoding: 'utf8' });
    return status === 0 ? undefined : `systemd needs namespaces and mounts of its own: ${stderr.trim()}`;
  } catch (error) {
    return `systemd needs a cgroup of its own: ${String(error)}`;
  } finally {
    if (cgroup !== undefined) removeCgroup(cgroup);
  }
}

/** It is killed when we are. In its cgroup before the namespace of cgroups is made, whose root that is then. */
function inNamespaces(cgroup: string, units: string, command: readonly string[]): string[] {
  const enter = `echo 0 > ${shellWords([join(cgroup, 'cgroup.procs')])} && exec unshare --cgroup -- "$@"`;
  return [
    ...[binaryOf('setpriv'), '--pdeathsig=KILL', '--', binaryOf('unshare'), '--fork', '--kill-child'],
    ...['--pid', '--mount', '--mount-proc', '--uts', '--ipc', '--net', '--'],
    ...['/bin/sh', '-c', enter, 'enter', '/bin/sh', '-c', `set -e${SETUP}\nshift; exec "$@"`, 'setup', units],
    ...command,
  ];
}

function childOf({ pid, exit, stderr }: Started): number | undefined {
  if (exit !== undefined) throw new Error(`it ended: ${stderr}`);
  return Number(readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim()) || undefined;
}

/** In the place of those that a killed test has left. */
function makeCgroup(): string {
  const mount = unifiedMount() ?? '';
  for (const name of readdirSync(mount)) {
    const [, pid] = /^holdfast-systemd-(\d+)-/.exec(name) ?? [];
    if (pid !== undefined && !isAlive(Number(pid))) removeCgroup(join(mount, name));
  }
  const folder = join(mount, `holdfast-systemd-${process.pid}-${randomBytes(4).toString('hex')}`);
  mkdirSync(folder);
  return folder;
}

/** Empty by now, with what systemd has made in it. */
function removeCgroup(folder: string): void {
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    if (entry.isDirectory()) removeCgroup(join(folder, entry.name));
  }
  rmdirSync(folder);
}
