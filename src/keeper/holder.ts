import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, statSync } from 'node:fs';
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { errorCode, isForbidden } from '../errors.js';
import type { Fd } from '../kernel/libc.js';
import { allProcesses, openFiles, processStat, socketInodeOf, startEnvironment } from '../kernel/procfs.js';
import { FIRST_FD } from './hand-over.js';
import { ownProcesses } from './own-processes.js';
import type { ProcessId } from './tree.js';

/** How long a dead keeper's successor has to come. Until then binds of the server wait, afterwards they fail. */
const HOLDER_LIFE_S = 300;

const SHORT_LIFE_MS = 1_000;
const FAILURES_MAX = 5;

/** The variable by which a holder is found: the path of the keeper's state file. */
const HOLDER_VARIABLE = 'HOLDFAST_HOLDER';

/** The word by which its command line tells what it is; the keeper's name follows it. */
const HOLDER_WORD = 'holdfast-holder';

const OPEN_PROGRAM = fileURLToPath(new URL('./holder-process.js', import.meta.url));

/** An fd of ours, and what tells its file from any other that has had the number. */
export interface HeldFile {
  readonly fd: Fd;
  readonly key: string;
}

/**
 * A process that does nothing but have fds open, so that they outlive the keeper: the notifier, by which calls of the
 * server wait for the next keeper, and the held sockets. It has them from its start. Its standard input is a pipe of
 * the keeper's: when that has gone, it stays for a while.
 */
export class Holder {
  readonly #name: string;
  readonly #stateFile: string;
  readonly #died: () => void;
  readonly #opens: boolean;
  #child: ChildProcess | undefined;
  #files: readonly HeldFile[] = [];
  #failures = 0;

  /** `died`: it was ended by somebody else. `opens`: Yama would close it to the next keeper if it did not allow that. */
  constructor(name: string, stateFile: string, died: () => void, opens: boolean) {
    this.#opens = opens;
    this.#name = name;
    this.#stateFile = resolve(stateFile);
    this.#died = died;
  }

  /** Has it hold these, and nothing else. */
  hold(files: readonly HeldFile[]): void {
    if (this.#isSame(files)) return;
    const former = this.#child;
    this.#child = undefined;
    this.#files = files;
    if (files.length > 0) this.#start(files.map(({ fd }) => fd));
    // Only now: at every moment somebody has the notifier.
    former?.kill('SIGKILL');
  }

  has(key: string): boolean {
    return this.#files.some((file) => file.key === key);
  }

  /** Leaves it to the next keeper. */
  leave(): void {
    this.#child?.stdin?.destroy();
    this.#child = undefined;
    this.#files = [];
  }

  /** Undefined when there is none. */
  get process(): ProcessId | undefined {
    const pid = this.#child?.pid;
    if (pid === undefined) return undefined;
    const startTime = processStat(pid)?.startTime;
    return startTime === undefined ? undefined : { pid, startTime };
  }

  /** Ends it, and settles when it has closed everything. */
  async end(): Promise<void> {
    const child = this.#child;
    this.#child = undefined;
    this.#files = [];
    if (child?.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const exit = once(child, 'exit');
    child.kill('SIGKILL');
    await exit;
  }

  #isSame(files: readonly HeldFile[]): boolean {
    const isRunning = this.#child !== undefined || files.length === 0;
    const isAll = files.length === this.#files.length;
    return isRunning && isAll && files.every(({ key }, index) => key === this.#files[index]?.key);
  }

  #start(fds: readonly Fd[]): void {
    const plain = commandFor(this.#name);
    const [file, ...args]: readonly [string, ...string[]] = this.#opens
      ? [process.execPath, OPEN_PROGRAM, `${fds.length}`, ...plain]
      : plain;
    const child = spawn(file, args, {
      // It pins no folder and has no terminal.
      cwd: '/',
      // Those options are meant for the caller's program.
      env: { ...process.env, NODE_OPTIONS: undefined, [HOLDER_VARIABLE]: this.#stateFile },
      detached: true,
      stdio: ['pipe', 'ignore', 'ignore', ...fds],
    });
    this.#child = child;
    ownProcesses.add(child.pid);
    // A holder must keep no program alive; that of the library's user may have nothing else to do.
    child.unref();
    (child.stdin as (typeof child)['stdin'] & { unref?: () => void }).unref?.();
    child.stdin?.on('error', () => undefined); // EPIPE: nothing is ever written
    const since = performance.now();
    const over = (): void => {
      ownProcesses.delete(child.pid);
      if (this.#child !== child) return;
      this.#child = undefined;
      this.#files = [];
      this.#failures = performance.now() - since < SHORT_LIFE_MS ? this.#failures + 1 : 0;
      // Where it cannot live there is none.
      if (this.#failures < FAILURES_MAX) this.#died();
    };
    child.once('exit', over).once('error', over);
  }
}

function commandFor(name: string): readonly [string, ...string[]] {
  if (existsSync('/bin/sh')) {
    return ['/bin/sh', '-c', `read -r _; exec sleep ${HOLDER_LIFE_S}`, `${HOLDER_WORD}:${name}`];
  }
  const wait = `process.stdin.resume().on('end', () => setTimeout(() => {}, ${HOLDER_LIFE_S * 1000}))`;
  return [process.execPath, '-e', wait, `${HOLDER_WORD}:${name}`];
}

/** A holder that a keeper has left. */
export interface FoundHolder extends ProcessId {
  /** Its numbers of notifiers, in the order in which it was given them. */
  readonly notifiers: readonly Fd[];
  /** Its numbers of sockets, by inode. */
  readonly sockets: ReadonlyMap<number, Fd>;
}

/** The holders of keepers with that state file, the newest first: one that was killed between two of them leaves both. */
export function findHolders(stateFile: string): readonly FoundHolder[] {
  return allProcesses()
    .filter(({ pid }) => isHolder(pid, resolve(stateFile)))
    .sort((one, other) => other.startTime - one.startTime)
    .map(({ pid, startTime }) => {
      const files = openFiles(pid).toSorted((one, other) => one.fd - other.fd);
      return {
        ...{ pid, startTime },
        notifiers: files.filter(({ target }) => target === NOTIFIER).map(({ fd }) => fd),
        sockets: new Map(
          files.flatMap(({ fd, target }) => {
            const inode = socketInodeOf(target);
            return inode === undefined || fd < FIRST_FD ? [] : [[inode, fd]];
          }),
        ),
      };
    });
}

/** What the link of a seccomp notifier says. */
const NOTIFIER = 'anon_inode:seccomp notify';

/** Another user's process may say anything. */
function isHolder(pid: number, stateFile: string): boolean {
  try {
    if (statSync(`/proc/${pid}`, { throwIfNoEntry: false })?.uid !== process.getuid?.()) return false;
    return startEnvironment(pid, HOLDER_VARIABLE) === stateFile;
  } catch (error) {
    if (errorCode(error) === 'ESRCH' || isForbidden(error)) return false;
    throw error;
  }
}
