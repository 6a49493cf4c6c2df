import { chmodSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { KeeperState } from '../../src/index.js';
import { type Ended, run } from '../cli/holdfast.js';
import { holdfast } from '../support/keeper.js';
import type { LoadResult } from '../support/load.js';
import { type Started, start } from '../support/process.js';
import { binaryOf } from '../support/requirement.js';
import { meansOfTests } from './bed.js';
import {
  address,
  batch,
  inside,
  type Means,
  machine,
  must,
  SSH_PORT,
  UID,
  USER,
  writeFiles,
} from './machines.js';

/** What a fleet needs of the machine. */
export const NEEDS = ['netns', 'root', 'ip', 'ssh', 'sshd', 'rshd', 'inetd', 'setpriv', 'script'] as const;

/** As pam_systemd and a login of this user have it. */
const RUNTIME = `/run/user/${UID}`;

/** Hosts of which each is a network and a mount namespace of its own, with an sshd, /run, /srv and /usr/local/bin of its own. */
export interface Fleet {
  /** Runs `holdfast` on the client's machine, with the options that let ssh in. */
  holdfast(...args: readonly string[]): Promise<Ended>;
  /** The command that runs `command` on the client's machine. */
  client(command: readonly string[]): string[];
  /** The whole line of that, for a command that is not waited for. */
  line(...args: readonly string[]): string[];
  host(number: number): FleetHost;
  /** What the servers of these hosts answer. */
  answers(numbers: readonly number[]): Promise<readonly string[]>;
  /** New connections to port 8080 of these hosts, until it is stopped. Gives the result of each. */
  load(numbers: readonly number[]): Promise<{ stop(): Promise<readonly LoadResult[]> }>;
}

export interface FleetHost {
  readonly name: string;
  /** The command that runs `command` there, as the ordinary user. */
  inside(command: readonly string[]): string[];
  asRoot(command: readonly string[]): string[];
  /** The code of its server, for the next start. */
  writeServer(code: string): void;
  /** Starts `holdfast run --name shop -- node server.js` in /srv, and waits until it serves. */
  keep(): Promise<void>;
  state(): KeeperState;
  /** Starts its rshd. */
  serveRsh(): Promise<void>;
  /** Lets the code of `waits` go on. */
  open(): void;
}

/** A server that answers `text`. */
export function serves(text: string): string {
  return `require('node:http').createServer((_, response) => response.end('pid ' + process.pid + ' ${text}')).listen(8080);`;
}

/** It does that once the host is opened. */
export function waits(code: string): string {
  return `const wait = setInterval(() => { if (require('node:fs').existsSync('/srv/open')) { clearInterval(wait); ${code} } }, 10);`;
}

/** Hosts h1, h2 …; `bins` says for some of them what stands in /usr/local/bin in the place of holdfast. */
export async function openFleet(
  count: number,
  bins: Readonly<Record<number, Readonly<Record<string, string>>>>,
): Promise<Fleet> {
  const means = meansOfTests();
  const { folder } = means;
  writeFiles(means, count + 1);
  const client = inside(means, (await machine(means, 'client')).pid);
  const hosts: FleetHost[] = [];
  for (let number = 1; number <= count; number++)
    hosts.push(await openHost(means, number, client, bins[number]));
  // The default key exchange takes longer than all the rest.
  const ssh = ['-F', join(folder, 'ssh.conf'), '-oKexAlgorithms=curve25519-sha256'];
  const options = [...['-l', USER, '-p', `${SSH_PORT}`], ...ssh.flatMap(asSshArg)];
  const line = (command: string, ...args: readonly string[]): string[] => [
    ...client([...holdfast, command, ...options, ...args]),
  ];
  return {
    ...{ client, line },
    holdfast: (command = '', ...args) => run(line(command, ...args), { timeoutMs: 120_000 }),
    host: (number) => {
      const host = hosts[number - 1];
      if (host === undefined) throw new Error(`no host ${number}`);
      return host;
    },
    answers: async (numbers) => {
      const script = `
        const get = (host) => fetch('http://' + host + ':8080').then((answer) => answer.text());
        Promise.all(${JSON.stringify(numbers.map(address))}.map(get)).then((all) => console.log(JSON.stringify(all)));`;
      const { stdout } = await run(client([process.execPath, '-e', script]));
      return (JSON.parse(stdout) as string[]).map((answer) => answer.replace(/^pid \d+ /, ''));
    },
    load: (numbers) => startLoads(client, numbers.map(address)),
  };
}

function asSshArg(argument: string): string[] {
  return ['--ssh-arg', argument];
}

async function openHost(
  means: Means<Started>,
  number: number,
  client: (command: readonly string[]) => string[],
  bin: Readonly<Record<string, string>> = { holdfast: WHERE_NPM_PUTS_IT },
): Promise<FleetHost> {
  const { folder } = means;
  const own = join(folder, `h${number}`);
  for (const name of ['srv', 'bin']) mkdirSync(join(own, name), { recursive: true });
  for (const [name, text] of Object.entries(bin)) writeProgram(join(own, 'bin', name), text);
  const { pid } = await machine(means, `h${number}`);
  const asRoot = inside(means, pid);
  connect(client, asRoot, pid, number);
  const mounts = [
    `mount -t tmpfs run /run && mkdir -p /run/sshd ${RUNTIME} && chmod 700 ${RUNTIME} && chown ${UID}:${UID} ${RUNTIME}`,
    `mount --bind ${join(own, 'srv')} /srv && mount --bind ${join(own, 'bin')} /usr/local/bin`,
  ];
  must(asRoot(['sh', '-e', '-c', mounts.join('\n')]));
  // As pam_systemd would.
  const environment = `SetEnv XDG_RUNTIME_DIR=${RUNTIME}`;
  const sshd = start(
    asRoot([binaryOf('sshd'), '-D', '-e', '-f', join(folder, 'sshd.conf'), '-o', environment]),
  );
  await sshd.listening(SSH_PORT);
  return hostOf(own, number, pid, asRoot);
}

/** As npm installs it, where a shell that nobody logs in to looks. */
const WHERE_NPM_PUTS_IT = `#!/bin/sh\nexec node ${holdfast[1]} "$@"\n`;

export function writeProgram(file: string, text: string): void {
  writeFileSync(file, text);
  chmodSync(file, 0o755);
}

/** A pair of interfaces for this host alone. */
function connect(
  client: (command: readonly string[]) => string[],
  host: (command: readonly string[]) => string[],
  pid: number,
  number: number,
): void {
  const ends = ['link', 'add', `h${number}`, 'type', 'veth', 'peer', 'name', 'far', 'netns', `${pid}`];
  must(client([binaryOf('ip'), ...ends]));
  batch(client([binaryOf('ip')]), [
    `addr add 10.77.0.1/32 dev h${number}`,
    `link set h${number} up`,
    `route add ${address(number)}/32 dev h${number} src 10.77.0.1`,
  ]);
  batch(host([binaryOf('ip')]), [
    `addr add ${address(number)}/32 dev far`,
    'link set far up',
    `route add 10.77.0.1/32 dev far src ${address(number)}`,
  ]);
}

function hostOf(
  own: string,
  number: number,
  pid: number,
  asRoot: (command: readonly string[]) => string[],
): FleetHost {
  const asUser = [
    ...[binaryOf('setpriv'), `--reuid=${UID}`, `--regid=${UID}`, '--clear-groups', '--'],
    ...['env', '-C', '/srv', `XDG_RUNTIME_DIR=${RUNTIME}`],
  ];
  const insideAsUser = (command: readonly string[]): string[] => asRoot([...asUser, ...command]);
  let keeper: Started | undefined;
  return {
    ...{ name: `h${number}`, inside: insideAsUser, asRoot },
    writeServer: (code) => writeFileSync(join(own, 'srv/server.js'), code),
    keep: async () => {
      keeper = start(insideAsUser([...holdfast, 'run', '--name', 'shop', '--', 'node', 'server.js']));
      await keeper.line(/keeps .*:8080 for pid/);
    },
    state: () =>
      JSON.parse(readFileSync(`/proc/${pid}/root${RUNTIME}/holdfast/shop.json`, 'utf8')) as KeeperState,
    serveRsh: async () => {
      const inetd = start(asRoot([binaryOf('inetd'), '-i', join(own, '../inetd.conf')]));
      await inetd.listening(514);
    },
    open: () => writeFileSync(join(own, 'srv/open'), ''),
  };
}

const LOAD = fileURLToPath(new URL('../support/load.js', import.meta.url));

async function startLoads(
  client: (command: readonly string[]) => string[],
  hosts: readonly string[],
): Promise<{ stop(): Promise<readonly LoadResult[]> }> {
  const script = `
    import { startLoad } from ${JSON.stringify(LOAD)};
    const loads = ${JSON.stringify(hosts)}.map((host) => startLoad({ host, port: 8080, ratePerSecond: 10, timeoutMs: 20_000 }));
    process.once('SIGTERM', async () => console.log('told ' + JSON.stringify(await Promise.all(loads.map((load) => load.stop())))));
    console.log('started');`;
  const loads = start(client([process.execPath, '--input-type=module', '-e', script]));
  await loads.line(/^started$/);
  return {
    stop: async () => {
      loads.kill('SIGTERM');
      return JSON.parse((await loads.line(/^told (.*)$/))[1] ?? '');
    },
  };
}
