import { createInterface } from 'node:readline';
import { applyDelta } from '../../src/watch/apply.js';
import type { WatchSnapshot, WatchUpdate } from '../../src/watch/view.js';
import { kernelFile } from '../kernel/inside.js';
import { holdfast } from '../support/keeper.js';
import type { Netns } from '../support/netns.js';
import { type Started, type StartOptions, start } from '../support/process.js';
import { within } from '../support/wait.js';

/** A process that does with sockets what it is told, a line of JavaScript each. */
export interface Actor {
  readonly pid: number;
  /** Runs code with `listenAt`, `connect` and `close`; resolves when it is done, with the time of that and what it gave. */
  act(code: string): Promise<{ readonly doneMs: number; readonly value: unknown }>;
  readonly process: Started;
}

const MODULES = ['socket-calls', 'sock-diag'];

const PROGRAM = `
  const kernel = Object.assign({}, ...(await Promise.all([${MODULES.map(kernelFile).join(', ')}].map((file) => import(file)))));
  const { pinThread } = await import(${kernelFile('affinity')});
  const { createInterface } = await import('node:readline');
  // On one CPU what it sends over loopback has arrived when the call is over.
  pinThread(0);
  const { openSocket, setOption, bindTo, listenWith, connectTo, acceptNow, closeFd, shutdownFor, tcpSockets } = kernel;
  const must = (result) => { if (result < 0) throw new Error('errno ' + -result); return result; };
  const at = (host, port) => ({ family: host.includes(':') ? 'ipv6' : 'ipv4', host, port });
  Object.assign(globalThis, {
    fds: {},
    bindAt: (host, port) => {
      const fd = must(openSocket('tcp', at(host, port).family));
      must(setOption(fd, 1, 2, Buffer.from([1, 0, 0, 0])));
      must(bindTo(fd, at(host, port)));
      return fd;
    },
    listenAt: (host, port, backlog = 128) => { const fd = bindAt(host, port); must(listenWith(fd, backlog)); return fd; },
    connect: (host, port) => { const fd = must(openSocket('tcp', at(host, port).family)); must(connectTo(fd, at(host, port))); return fd; },
    accept: (fd) => must(acceptNow(fd)),
    close: (fd) => must(closeFd(fd)),
    finish: (fd) => must(shutdownFor(fd, 'write')),
    timeWaits: (host, port, count) => {
      const listener = listenAt(host, port);
      for (let i = 0; i < count; i++) {
        // Ports that the kernel chooses come again, and a connection takes the place of an entry.
        const client = bindAt('127.0.1.' + (1 + (i % 10)), 10000 + Math.floor(i / 10));
        must(connectTo(client, at(host, port)));
        const child = accept(listener);
        close(child);
        close(client);
      }
      close(listener);
    },
    states: (port) => tcpSockets(['ESTABLISHED', 'FIN_WAIT2', 'CLOSE_WAIT', 'TIME_WAIT'], port).map(({ state }) => state),
  });
  console.log('acts');
  for await (const line of createInterface(process.stdin)) {
    try {
      const value = (0, eval)(line);
      console.log('done ' + JSON.stringify([Date.now(), value ?? null]));
    } catch (error) {
      console.log('failed ' + error.stack.replaceAll('\\n', ' '));
    }
  }`;

export async function startActor(netns: Netns, options: StartOptions = {}): Promise<Actor> {
  const actor = start(netns.command([process.execPath, '--input-type=module', '-e', PROGRAM]), {
    ...options,
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  await actor.line(/^acts$/);
  let acts = 0;
  return {
    pid: actor.pid,
    process: actor,
    act: async (code) => {
      actor.child.stdin?.write(`${code.replaceAll('\n', ' ')}\n`);
      const [, word, text = ''] = await actor.line(/^(done|failed) (.*)$/, { after: acts++ });
      if (word === 'failed') throw new Error(`${code}: ${text}`);
      const [doneMs, value] = JSON.parse(text) as [number, unknown];
      return { doneMs, value };
    },
  };
}

/** One look as it came. */
export interface Seen {
  readonly update: WatchUpdate;
  /** All updates up to this one together. */
  readonly snapshot: WatchSnapshot;
  /** When it was read. */
  readonly readMs: number;
  readonly bytes: number;
}

/** `holdfast watch --json`. */
export interface Watching {
  readonly process: Started;
  readonly seen: readonly Seen[];
  /** The first look for which that holds, of those that have come and those that come. */
  until(fact: string, holds: (seen: Seen) => boolean, timeoutMs?: number): Promise<Seen>;
}

export function startWatch(
  flags: readonly string[] = [],
  {
    around = (command) => command,
    ...options
  }: StartOptions & { readonly around?: (command: readonly string[]) => readonly string[] } = {},
): Watching {
  const watching = start(around([...holdfast, 'watch', '--json', ...flags]), options);
  const seen: Seen[] = [];
  const waiting = new Set<() => void>();
  let snapshot: WatchSnapshot | undefined;
  if (watching.child.stdout === null) throw new Error('its output goes elsewhere');
  createInterface(watching.child.stdout).on('line', (line) => {
    const update = JSON.parse(line) as WatchUpdate;
    snapshot =
      update.type === 'snapshot' || snapshot === undefined
        ? (update as WatchSnapshot)
        : applyDelta(snapshot, update);
    seen.push({ update, snapshot, readMs: Date.now(), bytes: Buffer.byteLength(line) });
    for (const look of waiting) look();
  });
  const until = (fact: string, holds: (one: Seen) => boolean, timeoutMs = 30_000): Promise<Seen> => {
    const found = new Promise<Seen>((resolve, reject) => {
      let next = 0;
      const look = (): void => {
        while (next < seen.length) {
          const one = seen[next++] as Seen;
          if (!holds(one)) continue;
          waiting.delete(look);
          resolve(one);
          return;
        }
      };
      waiting.add(look);
      look();
      watching.exited.then(() => reject(new Error(`it ended: ${watching.stderr}`)), reject);
    });
    const told = (error: Error): never => {
      const last = seen.at(-1)?.snapshot;
      throw new Error(
        `${error.message}; last: ${JSON.stringify({ ...last, history: undefined }).slice(0, 3_000)}`,
      );
    };
    return within(fact, found, timeoutMs).catch(told);
  };
  return { process: watching, seen, until };
}
