import { readFileSync } from 'node:fs';

/** What listening TCP sockets of a network namespace could not take, since the namespace was made. */
export interface ListenFailures {
  /** ListenOverflows: the accept queue was full. */
  readonly overflows: number;
  /** ListenDrops: these, and requests that were dropped for another reason. */
  readonly drops: number;
}

/**
 * Those of the namespace that this process is in; undefined where the kernel does not count them.
 *
 * @see proc_net(5) /proc/net/netstat; tcp_conn_request() in net/ipv4/tcp_input.c
 */
export function listenFailures(): ListenFailures | undefined {
  const text = readFileSync('/proc/self/net/netstat', 'latin1');
  const [names, values] = text
    .split('\n')
    .filter((line) => line.startsWith('TcpExt:'))
    .map((line) => line.split(' '));
  const value = (name: string): number => Number(values?.[names?.indexOf(name) ?? -1]);
  const failures = { overflows: value('ListenOverflows'), drops: value('ListenDrops') };
  return Number.isNaN(failures.overflows + failures.drops) ? undefined : failures;
}
