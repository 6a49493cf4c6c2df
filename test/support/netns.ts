import { spawnSync } from 'node:child_process';
import { pathOf } from '../../scripts/requirements.js';
import { start } from './process.js';
import { whyMissing } from './requirement.js';
import { shellWords } from './shell.js';

export interface NetnsOptions {
  /** Set before the command starts, for example `{ 'net.ipv4.tcp_tw_reuse': '1' }`. */
  readonly sysctls?: Readonly<Record<string, string>> | undefined;
}

/** A network namespace that lives until `close` or until this process ends. */
export interface Netns {
  /** A process in it, for /proc/PID/net and /proc/PID/ns/net. */
  readonly pid: number;
  /** The command that runs `command` inside. */
  command(command: readonly string[]): string[];
  close(): Promise<void>;
}

/** The command that runs `command` in a fresh network namespace with `lo` up, of which it is the only user. */
export function inFreshNetns(command: readonly string[], { sysctls = {} }: NetnsOptions = {}): string[] {
  return [...unshare(), '/bin/sh', '-c', script(sysctls), 'netns', ...command];
}

/** Opens a fresh network namespace with `lo` up, for several commands. */
export async function openNetns(options: NetnsOptions = {}): Promise<Netns> {
  // cat ends when its input does, so the namespace does not outlive us.
  const holder = start(inFreshNetns(['sh', '-c', 'echo up && exec cat'], options), {
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  await holder.line(/^up$/);
  const enter = isRoot ? [] : ['--user', '--preserve-credentials'];
  return {
    pid: holder.pid,
    command: (command) => [
      pathOf('nsenter') ?? 'nsenter',
      '--target',
      `${holder.pid}`,
      ...enter,
      '--net',
      '--',
      ...command,
    ],
    close: () => holder.stop(),
  };
}

/** Why this machine and user cannot make a network namespace; undefined when they can. Tried once. */
export function whyNoNetns(): string | undefined {
  probed ??= { why: whyMissing('unshare') ?? whyMissing('nsenter') ?? whyMissing('ip') ?? probe() };
  return probed.why;
}

let probed: { readonly why: string | undefined } | undefined;

const isRoot = process.getuid?.() === 0;

function probe(): string | undefined {
  const [program = '', ...args] = inFreshNetns(['true']);
  const { status, stderr } = spawnSync(program, args, { encoding: 'utf8' });
  if (status === 0) return undefined;
  return `no network namespace: ${stderr.trim()}${isRoot ? '' : ' (root may make one; others need user namespaces)'}`;
}

function unshare(): string[] {
  return [pathOf('unshare') ?? 'unshare', ...(isRoot ? [] : ['--user', '--map-root-user']), '--net', '--'];
}

function script(sysctls: Readonly<Record<string, string>>): string {
  const settings = Object.entries(sysctls).map(
    ([name, value]) =>
      `echo ${shellWords([value])} > ${shellWords([`/proc/sys/${name.replaceAll('.', '/')}`])} && `,
  );
  return `${shellWords([pathOf('ip') ?? 'ip'])} link set lo up && ${settings.join('')}exec "$@"`;
}
