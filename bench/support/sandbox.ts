import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { pathOf } from './plain.js';
import { run } from './process.js';
import { fromProject } from './project.js';

const MARK = 'HOLDFAST_BENCH_SANDBOX';

/**
 * Whether this process is in network and PID namespaces of the bench's own. There other programs of the machine have no
 * ports and cannot be seen, so a look at all processes finds the same in every run; what is started ends with it.
 */
export function isInSandbox(): boolean {
  return process.env[MARK] !== undefined;
}

/** Runs the bench again in a sandbox, to its end. */
export function runInSandbox(name: string, args: readonly string[]): void {
  const isRoot = process.getuid?.() === 0;
  const kinds = ['--net', '--pid', '--fork', '--kill-child', '--mount-proc'];
  const user = isRoot ? [] : ['--user', '--map-root-user'];
  const script = '"$0" link set lo up && exec "$@"';
  const bench = [process.execPath, ...process.execArgv, process.argv[1] ?? '', name, ...args];
  const { status, error } = spawnSync(
    pathOf('unshare'),
    [...kinds, ...user, '--', '/bin/sh', '-c', script, pathOf('ip'), ...bench],
    { stdio: 'inherit', env: { ...process.env, [MARK]: '1' } },
  );
  if (error) throw error;
  process.exitCode = status ?? 1;
}

/** Leaves so many TIME_WAIT entries at the port, unless about as many are there. */
export async function fillTimeWaits(port: number, count: number): Promise<void> {
  if (timeWaits() >= count * STILL_FULL) return;
  const script = fromProject('bench', 'servers', 'time-waits.js');
  await run([process.execPath, script, `${port}`, `${count}`], { timeoutMs: 120_000 });
  if (timeWaits() < count * STILL_FULL) {
    throw new Error(
      `of ${count} connections only ${timeWaits()} are in TIME_WAIT: net.ipv4.tcp_max_tw_buckets?`,
    );
  }
}

const STILL_FULL = 0.98;

/** How many TIME_WAIT entries this network namespace has. @see /proc/net/sockstat */
export function timeWaits(): number {
  return Number(/^TCP: .* tw (\d+)/m.exec(readFileSync('/proc/net/sockstat', 'utf8'))?.[1]);
}
