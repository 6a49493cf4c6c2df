import { accessSync, constants, statSync } from 'node:fs';
import { delimiter, join, resolve } from 'node:path';
import { errorCode, HoldfastError } from '../errors.js';
import type { Fd } from '../kernel/libc.js';
import type { HeldSocket } from './held.js';
import type { ListenRequest } from './listen-address.js';

/** Number of the first fd that is handed over, as in sd_listen_fds(3). */
export const FIRST_FD = 3;

/** A socket that the server gets as an fd. */
export interface HandedSocket {
  readonly held: HeldSocket;
  readonly request: ListenRequest;
  /** We got it from a service manager, which owns its address. */
  readonly inherited: boolean;
}

/** Variables by which servers find sockets, or a service manager, whose service is us; never passed on. */
const PROTOCOL_VARIABLES = [
  'LISTEN_FDS',
  'LISTEN_PID',
  'LISTEN_FDNAMES',
  'LISTEN_PIDFDID',
  'SERVER_STARTER_PORT',
  'NGINX',
  'NOTIFY_SOCKET',
  'WATCHDOG_PID',
  'WATCHDOG_USEC',
  'FDSTORE',
];

/** How to start a program so that it finds the sockets it is given. */
export interface HandOver {
  readonly command: readonly string[];
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly fds: readonly Fd[];
}

/**
 * Tells the program its sockets by every protocol that takes an fd: sd_listen_fds(3), Server::Starter, nginx's
 * own, and `{fd}` in the command line. `generation`: how many times it was started, from 1. `first`: what a
 * shell does before the program begins.
 */
export function handOver(
  command: readonly string[],
  env: Readonly<Record<string, string | undefined>>,
  sockets: readonly HandedSocket[],
  {
    generation,
    ignoreHangup,
    first = [],
  }: {
    readonly generation: number;
    readonly ignoreHangup: boolean;
    readonly first?: readonly string[];
  },
): HandOver {
  const clean = { ...env };
  for (const name of PROTOCOL_VARIABLES) delete clean[name];
  const setup = [...(ignoreHangup ? ["trap '' HUP"] : []), ...first];
  if (sockets.length === 0) return { command: throughShell(setup, command), env: clean, fds: [] };
  const number = (index: number): number => FIRST_FD + index;
  return {
    command: throughShell(
      // LISTEN_PID is the program's own pid, which nobody knows before it runs: the shell keeps it over exec.
      [...setup, 'export LISTEN_PID=$$'],
      command.map((argument) => withFdNumbers(argument, sockets)),
    ),
    env: {
      ...clean,
      LISTEN_FDS: String(sockets.length),
      LISTEN_FDNAMES: sockets.map(({ request }) => request.name || 'unknown').join(':'),
      SERVER_STARTER_PORT: sockets
        .map(({ request }, index) => `${starterSpelling(request)}=${number(index)}`)
        .join(';'),
      SERVER_STARTER_GENERATION: String(generation),
      NGINX: sockets.map((_, index) => `${number(index)};`).join(''),
    },
    fds: sockets.map(({ held }) => held.fd),
  };
}

/**
 * The program's file, searched as execvp(3) does.
 *
 * @throws {HoldfastError} ERR_HOLDFAST_COMMAND with `cause.code` ENOENT or EACCES.
 */
export function findProgram(
  file: string,
  env: Readonly<Record<string, string | undefined>>,
  cwd: string,
): string {
  const candidates = file.includes('/')
    ? [resolve(cwd, file)]
    : (env.PATH ?? '/usr/local/bin:/usr/bin:/bin')
        .split(delimiter)
        .map((folder) => join(resolve(cwd, folder), file));
  const files = candidates.filter(isFile);
  const found = files.find(isExecutable);
  if (found !== undefined) return found;
  if (files[0] !== undefined) {
    const text = `${files[0]} is not executable; make it so (chmod +x) or name its interpreter`;
    throw new HoldfastError('ERR_HOLDFAST_COMMAND', text, { code: 'EACCES' });
  }
  const text = file.includes('/') ? `there is no program ${file}` : `there is no program "${file}" in PATH`;
  throw new HoldfastError('ERR_HOLDFAST_COMMAND', `${text}; check its spelling`, { code: 'ENOENT' });
}

function throughShell(setup: readonly string[], command: readonly string[]): readonly string[] {
  if (setup.length === 0) return command;
  return ['/bin/sh', '-c', `${setup.join('; ')}; exec "$@"`, 'sh', ...command];
}

function withFdNumbers(argument: string, sockets: readonly HandedSocket[]): string {
  return argument.replace(/\{fd(?::([^}]*))?\}/g, (text, name: string | undefined) => {
    const index = name === undefined ? 0 : sockets.findIndex(({ request }) => request.name === name);
    if (index >= 0) return String(FIRST_FD + index);
    throw new HoldfastError('ERR_HOLDFAST_OPTION', `${text}: no --listen has name=${name}`);
  });
}

/** Server::Starter's spelling: port, host:port or a path. */
function starterSpelling({ spelling, address }: ListenRequest): string {
  return address.family === 'unix' ? address.path : spelling;
}

/** As execvp(3) does it, folders that may not be entered are passed over. */
function isFile(path: string): boolean {
  return isTrue(() => statSync(path, { throwIfNoEntry: false })?.isFile() === true);
}

function isExecutable(path: string): boolean {
  return isTrue(() => {
    accessSync(path, constants.X_OK);
    return true;
  });
}

function isTrue(look: () => boolean): boolean {
  try {
    return look();
  } catch (error) {
    if (errorCode(error) === 'EACCES' || errorCode(error) === 'ENOTDIR') return false;
    throw error;
  }
}
