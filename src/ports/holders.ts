import { walkSockets } from '../kernel/fd-walk.js';
import { processStat } from '../kernel/procfs.js';
import type { TcpSocket } from '../kernel/sock-diag.js';
import { formatDuration } from '../model/duration.js';

/** TIME_WAIT, and what else has no process any more. */
export interface Left {
  readonly count: number;
  /** Until the first of them ends. */
  readonly firstMs: number;
}

/** Who is named, at most, and how long it is looked for them. */
const OWNERS_TOLD = 3;
const WALK_MS = 200;

/** What holds ports, in words: states, what is left over, and whose the most are. */
export function holdersOf(sockets: readonly Pick<TcpSocket, 'state' | 'inode'>[], left: Left): string[] {
  const states = new Map<string, number>();
  for (const { state } of sockets) {
    const word = state === 'CLOSE' ? 'bound' : state;
    states.set(word, (states.get(word) ?? 0) + 1);
  }
  return [
    ...[...states].map(([state, count]) => `${count} ${state}`),
    ...(left.count === 0
      ? []
      : [`${left.count} TIME_WAIT, of which the first ends in ${formatDuration(left.firstMs)}`]),
    ...owners(new Set(sockets.map(({ inode }) => inode))),
  ];
}

function owners(inodes: ReadonlySet<number>): string[] {
  const counts = new Map<number, number>();
  for (const found of walkSockets(inodes, WALK_MS).holders.values()) {
    for (const { pid } of found) counts.set(pid, (counts.get(pid) ?? 0) + 1);
  }
  return [...counts]
    .sort(([, one], [, other]) => other - one)
    .slice(0, OWNERS_TOLD)
    .map(([pid, count]) => `${count} of ${nameOf(pid)}`);
}

/** `node (pid 12)`. */
export function nameOf(pid: number): string {
  return `${processStat(pid)?.comm ?? 'a process'} (pid ${pid})`;
}
