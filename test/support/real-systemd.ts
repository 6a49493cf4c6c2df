import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import { unifiedMount } from '../../src/kernel/cgroup.js';
import { type Exit, type Started, start } from './process.js';
import { binaryOf, whyMissing } from './requirement.js';
import { shellWords } from './shell.js';
import { temporaryFolder } from './temporary.js';
import { until } from './wait.js';

/** systemd itself, as process 1 of namespaces of its own. */
export interface RealSystemd {
  /** Its version, for example 252. */
  readonly version: number;
  /** Process 1 of its pid namespace, as we number it. */
  readonly pid: number;
  /** What is /etc/systemd/system inside. */
  readonly units: string;
  /** The command that runs `command` in its network namespace, and else as here. */
  readonly inNetns: (command: readonly string[]) => string[];
  /** Runs a command inside and waits for its end, however it ends. */
  run(...command: readonly string[]): Promise<Ran>;
  /** Runs systemctl inside. @throws Error with all that it said, and what systemd has to say of the unit, when it fails. */
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
const PROGRAMS = ['/usr/lib/systemd/systemd', '/lib/systemd/systemd'];

/** Starts it. Ends with the test, with all that it has started. */
export async function startRealSystemd(): Promise<RealSystemd> {
  const units = temporaryFolder();
  for (const name of TARGETS) {
    writeFileSync(join(units, `${name}.target`), '[Unit]\nDefaultDependencies=no\n');
  }
  const cgroup = makeCgroup();
  const program = PROGRAMS.find((path) => existsSync(path)) ?? '';
  const systemd = start(inNamespaces(cgroup, units, ['env', '-i', ...ENVIRONMENT, program, ...MANAGER]));
  onTestFinished(async () => {
    await systemd.stop();
    removeCgroup(cgroup);
  });
  const pid = await until('its first process', () => childOf(systemd));
  const inside = [binaryOf('nsenter'), `--target=${pid}`];
  const run = async (...command: readonly string[]): Promise<Ran> => {
    const started = start([...inside, ...INSIDE, '--', ...command], { env: { NO_COLOR: '1' } });
    const exit = await started.end(COMMAND_MS);
    return { exit, stdout: started.stdout, stderr: started.stderr };
  };
  const succeed = async (...command: readonly string[]): Promise<string> => {
    const { exit, stdout, stderr } = await run(...command);
    if (exit.code === 0) return stdout;
    throw new Error(`${command.join(' ')}: ${exit.code ?? exit.signal}\n${stdout}${stderr}`);
  };
  const isUp = async (): Promise<boolean> => {
    if (systemd.exit !== undefined) throw new Error(`systemd ended: ${systemd.stderr}`);
    return (await run('systemctl', 'is-system-running')).stdout === 'running\n';
  };
  await until('a system that runs', isUp);
  const version = Number(/^systemd (\d+)/.exec(await succeed('systemctl', '--version'))?.[1]);
  return {
    ...{ version, pid, units, run },
    inNetns: (command) => [...inside, '--net', '--', ...command],
    systemctl: (...args) => succeed('systemctl', '--no-pager', ...args),
    show: async (unit) =>
      Object.fromEntries(
        (await succeed('systemctl', 'show', unit)).split('\n').map((line) => {
          const at = line.indexOf('=');
          return [line.slice(0, at), line.slice(at + 1)];
        }),
      ),
  };
}

/** Why systemd cannot be run here; undefined when it can. Tried once. */
export function whyNoSystemd(): string | undefined {
  probed ??= { why: whyNot() };
  return probed.why;
}

let probed: { readonly why: string | undefined } | undefined;

const INSIDE = ['--mount', '--uts', '--ipc', '--net', '--pid', '--cgroup'];
/** A reload or a stop takes no longer. */
const COMMAND_MS = 100_000;

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

function makeCgroup(): string {
  return mkdtempSync(join(unifiedMount() ?? '', 'holdfast-test-'));
}

/** Empty by now, with what systemd has made in it. */
function removeCgroup(folder: string): void {
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    if (entry.isDirectory()) removeCgroup(join(folder, entry.name));
  }
  rmdirSync(folder);
}
