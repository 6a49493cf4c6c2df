import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { listeners } from '../support/proc.js';
import { until } from '../support/wait.js';

/** A process of the caller's, who ends it. */
export interface Kept {
  readonly pid: number;
  line(pattern: RegExp): Promise<unknown>;
}

/** What the machines are made with: tests and benches find and start programs in ways of their own. */
export interface Means<P extends Kept> {
  readonly folder: string;
  /** `holds`: its input ends with the caller. */
  start(command: readonly string[], how?: 'holds'): P;
  pathOf(name: 'ip' | 'inetd' | 'sshd' | 'rshd' | 'unshare' | 'nsenter'): string;
}

/** Hosts h1, h2 … with a real rshd and sshd, and a machine beside them whose commands reach them. */
export interface Machines<P extends Kept> {
  /** The command that runs `command` on the client's machine. */
  client(command: readonly string[]): string[];
  server(command: readonly string[]): string[];
  readonly inetd: P;
  readonly sshd: P;
  readonly user: string;
  /** Where the files of both are: sshd.conf, key … */
  readonly folder: string;
  /** Of the client's and the server's machine, whose namespaces are theirs. */
  readonly pids: { readonly client: number; readonly server: number };
  /** The configuration file that lets ssh in. */
  readonly sshConfig: string;
}

export const USER = 'holdfast';
export const UID = 4242;
export const SSH_PORT = 2222;

/**
 * Two machines, which are network and mount namespaces of the caller's: users, homes, names and keys are theirs alone, and nothing
 * of this system is changed. They are joined by a pair of interfaces.
 */
export async function openMachines<P extends Kept>(hosts: number, means: Means<P>): Promise<Machines<P>> {
  const { folder, start, pathOf } = means;
  writeFiles(means, hosts);
  const server = await machine(means, 'server');
  const client = await machine(means, 'client');
  const [inServer, inClient] = [inside(means, server.pid), inside(means, client.pid)];
  const addresses = Array.from({ length: hosts }, (_, i) => `addr add ${address(i + 1)}/16 dev far`);
  const pair = `link add near type veth peer name far netns ${server.pid}`;
  const ip = pathOf('ip');
  batch(inClient([ip]), [pair, 'addr add 10.77.0.1/16 dev near', 'link set near up']);
  batch(inServer([ip]), ['addr add 10.77.0.2/16 dev far', ...addresses, 'link set far up']);
  const inetd = start(inServer([pathOf('inetd'), '-i', '-q', '512', join(folder, 'inetd.conf')]));
  const sshd = start(inServer([pathOf('sshd'), '-D', '-e', '-f', join(folder, 'sshd.conf')]));
  for (const [port, { pid }] of [[514, inetd] as const, [SSH_PORT, sshd] as const])
    await until(`a listener at port ${port}`, () => listeners(port, pid).length > 0);
  return {
    ...{ client: inClient, server: inServer, inetd, sshd, user: USER, folder },
    pids: { client: client.pid, server: server.pid },
    sshConfig: join(folder, 'ssh.conf'),
  };
}

export function address(host: number): string {
  return `10.77.${1 + Math.floor(host / 250)}.${1 + (host % 250)}`;
}

export function writeFiles({ folder, pathOf }: Means<Kept>, hosts: number): void {
  const home = join(folder, 'home');
  mkdirSync(join(home, '.ssh'), { recursive: true, mode: 0o700 });
  mkdirSync(join(folder, 'run'), { mode: 0o755 });
  for (const name of ['key', 'hostkey'])
    must(['ssh-keygen', '-q', '-t', 'ed25519', '-N', '', '-f', join(folder, name)]);
  const hostKey = readFileSync(join(folder, 'hostkey.pub'), 'utf8').trim();
  const names = Array.from({ length: hosts }, (_, i) => `${address(i + 1)} h${i + 1}`);
  const files: Readonly<Record<string, string>> = {
    passwd: `root:x:0:0:root:/root:/bin/sh\nsshd:x:74:65534::/run/sshd:/usr/sbin/nologin\nnobody:x:65534:65534::/:/usr/sbin/nologin\n${USER}:x:${UID}:${UID}::${home}:/bin/sh\n`,
    shadow: `root:*:19000::::::\nsshd:*:19000::::::\n${USER}:*:19000::::::\n`,
    hosts: ['127.0.0.1 localhost', '10.77.0.1 client', ...names, ''].join('\n'),
    'nsswitch.conf': 'hosts: files\npasswd: files\ngroup: files\nshadow: files\n',
    // Without a number behind it inetd takes 256 connections a minute and then switches the service off.
    'inetd.conf': `shell stream tcp nowait.60000 root ${pathOf('rshd')} in.rshd\n`,
    'sshd.conf': [
      ...[`Port ${SSH_PORT}`, `HostKey ${join(folder, 'hostkey')}`, 'PidFile none', 'UsePAM no', 'UseDNS no'],
      ...['PasswordAuthentication no', 'KbdInteractiveAuthentication no', 'StrictModes no'],
      ...['MaxStartups 500:30:1000', 'LogLevel ERROR', ''],
    ].join('\n'),
    'ssh.conf': [
      ...[`Port ${SSH_PORT}`, `User ${USER}`, `IdentityFile ${join(folder, 'key')}`, 'IdentitiesOnly yes'],
      ...[`UserKnownHostsFile ${join(folder, 'known_hosts')}`, 'HashKnownHosts no', ''],
    ].join('\n'),
    known_hosts: Array.from({ length: hosts }, (_, i) => `[h${i + 1}]:${SSH_PORT} ${hostKey}\n`).join(''),
    'home/.rhosts': '+ +\n',
    'home/.ssh/authorized_keys': readFileSync(join(folder, 'key.pub'), 'utf8'),
  };
  for (const [name, text] of Object.entries(files))
    writeFileSync(join(folder, name), text, { mode: name.endsWith('.rhosts') ? 0o600 : 0o644 });
  must(['chmod', '755', folder]);
  must(['chown', '-R', `${UID}:${UID}`, home]);
}

/** Lives until its input ends, which is with the caller. */
export async function machine<P extends Kept>(means: Means<P>, name: string): Promise<P> {
  const { folder, start, pathOf } = means;
  const bound = ['passwd', 'shadow', 'hosts', 'nsswitch.conf'].map(
    (file) => `mount --bind ${join(folder, file)} /etc/${file}`,
  );
  const script = [
    ...['set -e', ...bound, `mkdir -p /run/sshd && mount --bind ${join(folder, 'run')} /run/sshd`],
    ...[`${pathOf('ip')} link set lo up`, 'echo up', 'exec cat'],
  ].join('\n');
  const command = [pathOf('unshare'), '--net', '--mount', '--uts', '--', 'sh', '-c', script, name];
  const started = start(command, 'holds');
  await started.line(/^up$/);
  return started;
}

export function inside({ pathOf }: Means<Kept>, pid: number): (command: readonly string[]) => string[] {
  return (command) => [
    ...[pathOf('nsenter'), '--target', `${pid}`, '--net', '--mount', '--uts'],
    ...[`--wd=${process.cwd()}`, '--', ...command],
  ];
}

export function batch(ip: readonly string[], commands: readonly string[]): void {
  must([...ip, '-batch', '-'], commands.join('\n'));
}

/** Its output. @throws Error with all of it when it fails. */
export function must([program = '', ...args]: readonly string[], input?: string): string {
  const { status, stdout, stderr } = spawnSync(program, args, { encoding: 'utf8', input });
  if (status !== 0) throw new Error(`${[program, ...args].join(' ')} failed: ${stdout}${stderr}`);
  return stdout;
}
