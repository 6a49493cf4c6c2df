import { readdirSync, readFileSync } from 'node:fs';
import { errorCode } from '../../src/errors.js';
import { bodyOf, type GetOptions } from '../support/http.js';
import type { Netns } from '../support/netns.js';
import { listeners } from '../support/proc.js';
import { start } from '../support/process.js';
import { until } from '../support/wait.js';
import { python } from './programs.js';

/** What a client gets: the pid of the process that answers, `answered` by one that does not say it, or an error's code. */
export type Outcome = number | string;

export async function outcomeOf(port: number, options?: GetOptions): Promise<Outcome> {
  try {
    const pid = /^pid (\d+)$/m.exec(await bodyOf(port, options))?.[1];
    return pid === undefined ? 'answered' : Number(pid);
  } catch (error) {
    return errorCode(error) ?? String(error);
  }
}

/** Stops the process and waits until each of its threads stands still, so that none accepts any more. */
export async function freeze(pid: number): Promise<void> {
  process.kill(pid, 'SIGSTOP');
  const state = (thread: string): string | undefined =>
    /^State:\s*(\w)/m.exec(readFileSync(`/proc/${pid}/task/${thread}/status`, 'utf8'))?.[1];
  const isStopped = (): boolean => readdirSync(`/proc/${pid}/task`).every((thread) => state(thread) === 'T');
  await until(`${pid} stands still`, isStopped, { everyMs: 1 });
}

/** Connections that nobody has accepted yet, of all listeners on the port. */
export function queued(port: number): number {
  return listeners(port).reduce((sum, socket) => sum + socket.receiveQueue, 0);
}

/** Clients that are in the accept queue. Their outcomes are in an object, so that waiting for it is not theirs. */
export interface WaitingClients {
  readonly outcomes: Promise<readonly Outcome[]>;
}

/** Sends so many clients to a port whose server accepts nobody now, and waits until all of them are queued. */
export async function queueClients(
  port: number,
  count: number,
  { timeoutMs = 20_000, ...options }: GetOptions = {},
): Promise<WaitingClients> {
  const before = queued(port);
  const clients = Array.from({ length: count }, () => outcomeOf(port, { timeoutMs, ...options }));
  await until(`${count} clients in the queue of ${port}`, () => queued(port) === before + count);
  return { outcomes: Promise.all(clients) };
}

/** The body of a GET at 127.0.0.1 in a network namespace; empty when nobody answers. */
export async function answerIn(netns: Netns, port: number): Promise<string> {
  const script = `import sys, urllib.request as r; print(r.urlopen('http://127.0.0.1:' + sys.argv[1], timeout=5).read().decode())`;
  const client = start(netns.command(python(script, port)));
  await client.end();
  return client.stdout;
}
