import { type ChildProcessByStdio, execFile, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import { promisify } from 'node:util';
import { newMark } from './remote-command.js';
import type { Share } from './ssh.js';

/** sshd lets a connection have 10 sessions (MaxSessions), one of which keeps it open. */
const SESSIONS = 9;
/** A socket's path has at most 107 bytes, and ssh makes it with 17 more behind its name. @see unix(7) */
const PATH_MAX = 107 - 17;

/** What there is for one host. */
interface AtHost {
  readonly opening: Promise<readonly Connection[]>;
  /** How many commands have asked for it and are not over. */
  users: number;
}

/**
 * Connections of ssh that several commands at one host have together, in a run whose list has the host more than once: without
 * them each takes a key exchange. Where the user's configuration shares connections itself, it does so. A command for which
 * there is no shared connection, because it could not be made or the server lets it have no more sessions, makes its own.
 * They last until the host's last command is over, or as many others are needed as there may be commands at a time.
 *
 * @see ssh_config(5), ControlMaster
 */
export class SharedConnections {
  /** How many commands of a host are to come. */
  readonly #left = new Map<string, number>();
  readonly #fanout: number;
  readonly #program: string;
  readonly #hosts = new Map<string, AtHost>();
  readonly #connections = new Set<Connection>();
  #folder: string | undefined;
  #count = 0;
  #isOver = false;

  constructor(
    { hosts, fanout = 32 }: { readonly hosts: readonly string[]; readonly fanout?: number | undefined },
    program = 'ssh',
  ) {
    this.#fanout = fanout;
    this.#program = program;
    for (const host of hosts) this.#left.set(host, (this.#left.get(host) ?? 0) + 1);
  }

  readonly share: Share = async ({ name }, command) => {
    const left = this.#left.get(name) ?? 0;
    this.#left.set(name, left - 1);
    const host = this.#hosts.get(name) ?? this.#newHost(name, left, command);
    if (host === undefined) return undefined;
    host.users++;
    const connection = (await host.opening).find(({ isUsable }) => isUsable);
    if (connection !== undefined) connection.sessions++;
    const release = (): void => {
      host.users--;
      if (connection !== undefined) connection.sessions--;
      if (host.users === 0 && (this.#left.get(name) ?? 0) <= 0) this.#close(name);
    };
    return { args: connection?.args ?? [], release };
  };

  /** Ends the connections, and with them what still uses them. */
  async end(): Promise<void> {
    this.#isOver = true;
    await Promise.all([...this.#connections].map((connection) => connection.end()));
    if (this.#folder !== undefined) rmSync(this.#folder, { recursive: true, force: true });
  }

  #newHost(name: string, left: number, command: readonly string[]): AtHost | undefined {
    if (left < 2 || this.#isOver) return undefined;
    for (const [other, { users }] of this.#hosts)
      if (users === 0 && this.#hosts.size >= this.#fanout) this.#close(other);
    const host = { opening: this.#open(Math.min(left, this.#fanout), command), users: 0 };
    this.#hosts.set(name, host);
    return host;
  }

  #close(name: string): void {
    const host = this.#hosts.get(name);
    this.#hosts.delete(name);
    void host?.opening.then((connections) => connections.map((connection) => connection.end()));
  }

  async #open(commands: number, command: readonly string[]): Promise<readonly Connection[]> {
    if ((await sharesItself(this.#program, command)) || this.#isOver) return [];
    const paths = Array.from({ length: Math.ceil(commands / SESSIONS) }, () => this.#path());
    const connections = paths.flatMap((path) =>
      path === undefined ? [] : [new Connection(this.#program, command, path)],
    );
    for (const connection of connections) {
      this.#connections.add(connection);
      void connection.over.then(() => this.#connections.delete(connection));
    }
    await Promise.all(connections.map(({ ready }) => ready));
    return connections;
  }

  /** Undefined where there is no folder for it, or its path is too long. */
  #path(): string | undefined {
    this.#folder ??= newFolder();
    if (this.#folder === undefined) return undefined;
    const path = join(this.#folder, `${this.#count++}`);
    return Buffer.byteLength(path) > PATH_MAX ? undefined : path;
  }
}

/** Of this user alone: whoever can open a socket in it can use the connection. */
function newFolder(): string | undefined {
  const parent = Buffer.byteLength(tmpdir()) > PATH_MAX - 30 ? '/tmp' : tmpdir();
  try {
    return mkdtempSync(join(parent, 'holdfast-ssh-'));
  } catch {
    // EACCES, ENOSPC, ENOENT: then nothing is shared.
    return undefined;
  }
}

/** Whether the user's configuration for that host, with these arguments, says something about sharing. */
async function sharesItself(program: string, command: readonly string[]): Promise<boolean> {
  try {
    const { stdout } = await promisify(execFile)(program, ['-G', ...command]);
    return /^controlpath |^controlmaster (?!false|no$)/m.test(stdout);
  } catch {
    // It does not know the option, or the configuration is wrong: the commands will say so themselves.
    return true;
  }
}

/** One connection, which lives as long as its first session: until its input ends, which it does with this process too. */
class Connection {
  readonly args: readonly string[];
  /** Resolved when it can be used, or never will be. */
  readonly ready: Promise<void>;
  readonly over: Promise<void>;
  sessions = 0;
  readonly #child: ChildProcessByStdio<Writable, Readable, null>;
  #isReady = false;

  constructor(program: string, command: readonly string[], path: string) {
    this.args = ['-o', 'ControlMaster=no', '-o', `ControlPath=${path}`];
    const master = ['-o', 'ControlMaster=yes', '-o', `ControlPath=${path}`, '-o', 'ControlPersist=no'];
    const mark = newMark();
    const args = [...command.slice(0, -2), ...master, ...command.slice(-2), `echo ${mark}; exec cat`];
    this.#child = spawn(program, args, { stdio: ['pipe', 'pipe', 'ignore'], detached: true });
    this.#child.stdin.on('error', () => undefined);
    this.over = new Promise((resolve) => {
      this.#child.once('error', () => resolve());
      this.#child.once('exit', () => resolve());
    });
    void this.over.then(() => {
      this.#isReady = false;
    });
    const lines = createInterface(this.#child.stdout);
    const isUp = new Promise<void>((resolve) => {
      lines.on('line', (line) => {
        if (!line.endsWith(mark)) return;
        this.#isReady = true;
        resolve();
      });
    });
    this.ready = Promise.race([isUp, this.over]);
  }

  get isUsable(): boolean {
    return this.#isReady && this.sessions < SESSIONS;
  }

  async end(): Promise<void> {
    this.#isReady = false;
    this.#child.stdin.end();
    this.#child.kill('SIGTERM');
    await this.over;
  }
}
