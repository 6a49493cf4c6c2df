import type { ProcessReport } from './process.js';
import type { SocketReport, WhyReport } from './report.js';

/**
 * What reports of different machines have in common when they say the same: who has the port, at which addresses, with which
 * program, and what binds would do. Pids, times, counts and single connections are each machine's own.
 */
export function essenceOf(report: WhyReport): string {
  const { port, protocol, host, verdict, sockets, groups, processes, bind, warnings, fixes } = report;
  const { localhost, takeover, elsewhere } = report;
  const listeners = sockets.filter(({ state }) => state === 'LISTEN' || state === 'BOUND');
  // What is left of connections says something only where nobody has the port.
  const leftovers = listeners.length > 0 ? [] : groups.map(({ kind, local }) => ({ kind, local }));
  return JSON.stringify({
    ...{ port, protocol, host, verdict, leftovers },
    sockets: distinct((listeners.length > 0 ? listeners : sockets).map(socketEssence)),
    processes: distinct(processes.map(processEssence)),
    bind: bind.map(({ address, options, expected, probed, cause }) => [
      ...[address, options, expected, probed, cause],
    ]),
    warnings: distinct(warnings.map(({ id }) => id)),
    fixes: fixes.map(({ id }) => id),
    elsewhere: distinct(
      elsewhere.flatMap((other) => other.sockets.map(({ local, state }) => [local, state])),
    ),
    localhost: localhost && [localhost.order, localhost.ipv4 === null, localhost.ipv6 === null],
    takeover: takeover && [takeover.address, takeover.possible],
    complete: report.limits.complete,
  });
}

function socketEssence({ state, local, device, user, ownerKind, flags }: SocketReport): object {
  return { state, local, device, user, ownerKind, reuse: [flags.reuseaddr, flags.reuseport] };
}

function processEssence({ cmdline, cwd, exe, user, unit, container, supervisor }: ProcessReport): object {
  return {
    ...{ cmdline, cwd, exe, user, unit },
    ...{ container: [container?.name, container?.image], supervisor: [supervisor?.kind, supervisor?.name] },
  };
}

/** Each once, in an order of their own: that of a machine depends on its pids. */
function distinct(parts: readonly unknown[]): readonly string[] {
  return [...new Set(parts.map((part) => JSON.stringify(part)))].sort();
}
