import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import { close } from '../../src/kernel/fd.js';
import { receiveDatagram } from '../../src/kernel/fd-passing.js';
import type { Fd } from '../../src/kernel/libc.js';
import { openNotifySocket } from '../../src/kernel/notify-socket.js';
import { Poller } from '../../src/kernel/poller.js';
import { type KeeperOptions, type RunningKeeper, startKeeper } from './keeper.js';
import { type Started, type StartOptions, start } from './process.js';
import { temporaryFolder } from './temporary.js';
import { until } from './wait.js';

/** Stands for systemd: hears sd_notify(3), keeps the fds of FDSTORE=1, and gives them to what it starts. */
export interface Systemd {
  /** What it has been told, in order: a message's assignments. */
  readonly messages: readonly (readonly string[])[];
  /** The names of the fds in its store. */
  stored(): readonly string[];
  /** Waits for a message with an assignment that matches; `after`: how many such come before. Gives the whole message. */
  told(assignment: RegExp, after?: number): Promise<readonly string[]>;
  /** As systemd does with a socket unit: gives the fd, whose owner it becomes, to everything that it starts. */
  hands(name: string, fd: Fd): void;
  /** Starts a program as the main process of a service. */
  start(command: readonly string[], options?: StartOptions): Started;
  /** Starts `holdfast run` so. */
  startKeeper(command: readonly string[], options?: KeeperOptions): RunningKeeper;
}

const SOL_SOCKET = 1;
const SCM_RIGHTS = 1;

/** Ends with the test, with the fds that it keeps. */
export function startSystemd(): Systemd {
  const path = join(temporaryFolder(), 'notify');
  const messages: (readonly string[])[] = [];
  const store = new Map<string, Fd>();
  const handed = new Map<string, Fd>();
  const socket = openNotifySocket(path);
  const poller = new Poller();
  poller.add(socket, () => {
    const { text, fds } = receive(socket);
    const message = text.split('\n');
    messages.push(message);
    const [fd, ...others] = fds;
    const name = message.find((line) => line.startsWith('FDNAME='))?.slice('FDNAME='.length) ?? 'stored';
    if (message.includes('FDSTORE=1') && fd !== undefined && !store.has(name)) store.set(name, fd);
    else if (fd !== undefined) close(fd);
    for (const other of others) close(other);
    const removed = message.includes('FDSTOREREMOVE=1') ? store.get(name) : undefined;
    if (removed === undefined) return;
    store.delete(name);
    close(removed);
  });
  onTestFinished(() => {
    poller.remove(socket);
    poller.close();
    for (const fd of [socket, ...store.values(), ...handed.values()]) close(fd);
  });

  const asService = (
    options: StartOptions,
  ): {
    readonly around: (command: readonly string[]) => readonly string[];
    readonly options: StartOptions;
  } => {
    const fds = new Map([...handed, ...store]);
    const listen =
      fds.size === 0 ? {} : { LISTEN_FDS: `${fds.size}`, LISTEN_FDNAMES: [...fds.keys()].join(':') };
    return {
      around: (command) =>
        fds.size === 0 ? command : ['/bin/sh', '-c', 'export LISTEN_PID=$$; exec "$@"', 'sh', ...command],
      options: {
        detached: true,
        ...options,
        env: { NOTIFY_SOCKET: path, ...listen, ...options.env },
        stdio: ['ignore', 'pipe', 'pipe', ...fds.values()],
      },
    };
  };

  return {
    messages,
    stored: () => [...store.keys()],
    told: (assignment, after = 0) =>
      until(`a message ${assignment}`, () => {
        const found = messages.filter((message) => message.some((line) => assignment.test(line)));
        return found[after];
      }),
    hands: (name, fd) => void handed.set(name, fd),
    start: (command, given = {}) => {
      const { around, options } = asService(given);
      return start(around(command), options);
    },
    startKeeper: (command, given = {}) => {
      const { around, options } = asService(given);
      return startKeeper(command, { ...given, ...options, around });
    },
  };
}

/** One datagram with its fds. The socket has one. @see unix(7), cmsg(3) */
function receive(socket: Fd): { readonly text: string; readonly fds: readonly Fd[] } {
  const datagram = receiveDatagram(socket, { textMax: 4_096, controlMax: 256 });
  if (datagram === undefined) throw new Error('nothing to receive');
  const { text, control } = datagram;
  const fds: Fd[] = [];
  for (let at = 0; at + 16 <= control.length; ) {
    const size = Number(control.readBigUInt64LE(at));
    if (control.readInt32LE(at + 8) === SOL_SOCKET && control.readInt32LE(at + 12) === SCM_RIGHTS) {
      for (let fd = at + 16; fd + 4 <= at + size; fd += 4) fds.push(control.readInt32LE(fd));
    }
    at += Math.ceil(size / 8) * 8;
  }
  return { text, fds };
}
