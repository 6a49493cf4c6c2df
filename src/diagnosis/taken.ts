import { parseInetAddress } from '../kernel/sockaddr.js';
import { withToolsFor } from './ask-tool.js';
import { blockersOf } from './blockers.js';
import { describeWhy } from './describe.js';
import type { SocketReport, WhyReport } from './report.js';
import { why } from './why.js';

/** For docker, podman and systemctl together: a keeper answers its server's calls only after that. */
const TOOLS_MS = 100;

/** Who has an address that could not be bound. */
export interface Taken {
  readonly report: WhyReport;
  /** The report in words, of several lines. */
  readonly text: string;
}

/**
 * Looks who has the address, written `127.0.0.1:8080`; undefined when a bind there would not fail now, or only for sockets
 * of this process and of what it has started.
 *
 * @throws {SyscallError} the kernel has no inet_diag.
 */
export function whoHasTaken(address: string): Taken | undefined {
  const at = parseInetAddress(address);
  if (typeof at === 'string') return undefined;
  const host = at.host === '::' || at.host === '0.0.0.0' ? undefined : at.host;
  const report = withToolsFor(TOOLS_MS, () => why({ port: at.port, host, probe: false }));
  if (!blockersOf(report).some((socket) => isStrangers(socket, report))) return undefined;
  return { report, text: describeWhy(report) };
}

function isStrangers({ holders }: SocketReport, { processes }: WhyReport): boolean {
  return !holders.some(
    ({ pid }) =>
      pid === process.pid ||
      processes.some((one) => one.pid === pid && one.parents.some((parent) => parent.pid === process.pid)),
  );
}
