import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { once } from 'node:events';
import type { Readable, Writable } from 'node:stream';
import { Conversation } from './conversation.js';
import type { Failure, RemoteEnd, RemoteJob, RunningRemote } from './remote.js';
import { COMMAND_LINE, endCommand, newMark, programFor } from './remote-command.js';

export interface SshOptions {
  /** Further arguments for ssh, before the host. */
  readonly args: readonly string[];
  /** The program. Default `ssh`, from PATH. */
  readonly program?: string | undefined;
  /** Gives arguments that let a command use a connection that there is, when there is one for it; `release` when it is over. */
  readonly share?: Share | undefined;
}

/** @param command the arguments for ssh up to the host, which is the last one, after `--`. */
export type Share = (job: RemoteJob, command: readonly string[]) => Promise<Shared | undefined>;

export interface Shared {
  readonly args: readonly string[];
  release(): void;
}

/** OpenSSH's own words, before the command has begun. */
const PHASES = [
  ['resolve', /Could not resolve hostname|Name or service not known|Temporary failure in name resolution/],
  [
    'auth',
    /Permission denied|Host key verification failed|REMOTE HOST IDENTIFICATION HAS CHANGED|Too many authentication failures|no matching host key type/,
  ],
  [
    'connect',
    /Connection refused|Connection timed out|timed out|No route to host|Network is unreachable|Connection reset|Connection closed/,
  ],
] as const;

/** Starts a command at a host by OpenSSH's client, with the user's own configuration, agent and known hosts. */
export function startSsh(job: RemoteJob, options: SshOptions): RunningRemote {
  return new SshRemote(job, options);
}

class SshRemote implements RunningRemote {
  readonly ended: Promise<RemoteEnd>;
  readonly #job: RemoteJob;
  readonly #options: SshOptions;
  readonly #conversation: Conversation;
  readonly #program: string;
  #command: readonly string[] = [];
  #child: ChildProcessByStdio<Writable, Readable, Readable> | undefined;
  readonly #stopped = new AbortController();

  constructor(job: RemoteJob, options: SshOptions) {
    this.#job = job;
    this.#options = options;
    const mark = newMark();
    this.#program = programFor(job.work, mark);
    this.#conversation = new Conversation(job, mark, () => this.#child?.kill('SIGTERM'));
    this.ended = this.#run();
  }

  stop(): void {
    this.#stopped.abort();
    if (this.#child === undefined) return;
    const { group } = this.#conversation;
    // Without input its end is the command's end; with input somebody has to go and end it.
    if (this.#job.work.takesInput && group !== undefined) this.#endGroup(group);
    this.#conversation.closedFirst = true;
    this.#child.kill('SIGTERM');
  }

  async #run(): Promise<RemoteEnd> {
    const { program = 'ssh', share } = this.#options;
    const command = sshCommand(this.#job, this.#options);
    const sharing = share?.(this.#job, command);
    const shared = sharing && (await Promise.race([sharing, aborted(this.#stopped.signal)]));
    this.#command =
      shared === undefined ? command : [...command.slice(0, -2), ...shared.args, ...command.slice(-2)];
    try {
      if (this.#stopped.signal.aborted) return await this.#conversation.end(() => refused('stopped'));
      this.#child = spawn(program, [...this.#command, COMMAND_LINE], { stdio: 'pipe', ...APART });
      return await this.#talk(this.#child);
    } finally {
      void sharing?.then((it) => it?.release());
    }
  }

  async #talk(child: ChildProcessByStdio<Writable, Readable, Readable>): Promise<RemoteEnd> {
    const { stdin, stdout, stderr } = child;
    // It may end before all input is read.
    stdin.on('error', () => undefined);
    stdin.write(this.#program);
    this.#job.input?.pipe(stdin);
    const exited = new Promise<Error | undefined>((resolve) => {
      child.once('error', resolve);
      child.once('close', () => resolve(undefined));
    });
    const output = read(stdout, async (bytes) => {
      await this.#conversation.output(bytes);
      // The lifeline has done its work, and ssh waits for the end of its input.
      if (this.#conversation.isOver) stdin.end();
    });
    const errors = read(stderr, (bytes) => this.#conversation.errors(this.#withoutSharing(bytes)));
    const failed = await exited;
    if (failed !== undefined)
      return await this.#conversation.end(() => ({
        phase: 'connect',
        text: `ssh does not start: ${failed.message}`,
      }));
    await Promise.all([output, errors]);
    return await this.#conversation.end(refused);
  }

  /** A connection that lets the command have no session is no trouble of the user's: ssh makes another one. */
  #withoutSharing(bytes: Buffer): Buffer {
    if (this.#conversation.group !== undefined) return bytes;
    return Buffer.from(bytes.toString('latin1').replace(SHARING, ''), 'latin1');
  }

  #endGroup(group: number): void {
    const { program = 'ssh' } = this.#options;
    const child = spawn(program, [...this.#command, endCommand(group)], { stdio: 'ignore', ...APART });
    child.on('error', () => undefined);
  }
}

async function aborted(signal: AbortSignal): Promise<undefined> {
  if (!signal.aborted) await once(signal, 'abort');
}

async function read(stream: Readable, take: (bytes: Buffer) => Promise<void>): Promise<void> {
  for await (const bytes of stream) await take(bytes as Buffer);
}

const SHARING = /^(mux_client_\w+: |ControlSocket |Control socket connect).*\r?\n/gm;

/** Its messages are read, and a terminal's Ctrl-C is ours alone. It ends with its input, and so with this process. */
const APART = { env: { ...process.env, LC_ALL: 'C' }, detached: true } as const;

/** The arguments up to the host. */
function sshCommand({ host, user, port, connectTimeoutMs }: RemoteJob, { args }: SshOptions): string[] {
  const seconds = Math.max(1, Math.ceil(connectTimeoutMs / 1_000));
  return [
    // Nobody is there to be asked for a password, by so many at once.
    ...['-T', '-o', 'BatchMode=yes', '-o', `ConnectTimeout=${seconds}`],
    ...(user === undefined ? [] : ['-l', user]),
    ...(port === undefined ? [] : ['-p', `${port}`]),
    ...args,
    ...['--', host],
  ];
}

/** What ssh said in the place of the command's output. */
function refused(words: string): Failure {
  const [phase] = PHASES.find(([, pattern]) => pattern.test(words)) ?? ['connect'];
  const lines = words.split('\n').filter((line) => !line.startsWith('Warning:'));
  return { phase, text: lines.at(-1)?.trim() || 'ssh ended without a word' };
}
