import { errorCode } from '../errors.js';
import { close } from '../kernel/fd.js';
import type { Fd } from '../kernel/libc.js';
import { CAP_NET_BIND_SERVICE, hasCapability } from '../kernel/procfs.js';
import { steerGroupTo } from '../kernel/reuseport-group.js';
import { tcpListeners } from '../kernel/sock-diag.js';
import { bind, listen, refuseNewConnections, setReusePort, streamSocket } from '../kernel/socket.js';
import { sysctlNumber } from '../kernel/sysctl.js';
import type { InetAddress } from '../model/address.js';
import { type Finding, limited, no, yes } from './report.js';

/** What the kernel has had by default since 5.4. */
const USUAL_QUEUE = 4096;
const FIRST_PORT_OF_ALL = 1024;

/** Who else joins the group of a held socket gets no connection. */
export function steering(): Finding {
  const code = refusal((fd) => {
    setReusePort(fd, true);
    listen(fd, 1);
    steerGroupTo(fd, 0);
  });
  if (code === undefined) return yes('SO_REUSEPORT groups take a classic BPF program');
  const found = `a SO_REUSEPORT group takes no classic BPF program (${code})`;
  return no(found, 'use a Linux kernel, not gVisor');
}

/** At a stop new connections are kept out while those in the queue are accepted. */
export function stopFilter(): Finding {
  const code = refusal(refuseNewConnections);
  if (code === undefined) return yes('a stop keeps new connections out and answers those that wait');
  return limited(
    `a stop cannot keep new connections out before the server closes its socket (SO_ATTACH_FILTER: ${code})`,
    'run the keeper as root or with CAP_NET_ADMIN, which newer kernels ask for',
  );
}

export function socketLists(): Finding {
  try {
    tcpListeners();
    return yes('sock_diag lists the listening sockets');
  } catch (error) {
    const found = `sock_diag lists no sockets (${errorCode(error)})`;
    return no(found, 'modprobe tcp_diag, or a kernel with CONFIG_INET_DIAG');
  }
}

export function ipv6(): Finding {
  const wildcard = refusal(() => undefined, 'ipv6', '::');
  if (wildcard !== undefined) {
    const remedy = 'write --listen 0.0.0.0:PORT where a port alone would mean both families';
    return limited(`this machine has no IPv6 (${wildcard})`, remedy);
  }
  const loopback = refusal(() => undefined, 'ipv6', '::1');
  if (loopback === undefined) return yes('[::] and [::1] can be bound');
  return limited(`[::] can be bound, [::1] cannot (${loopback})`, 'sysctl net.ipv6.conf.lo.disable_ipv6=0');
}

/** How many clients can wait at one address while its server starts. */
export function acceptQueue(): Finding {
  const length = sysctlNumber('net/core/somaxconn');
  if (length === undefined) return limited('net.core.somaxconn cannot be read');
  const found = `up to ${length} clients can wait at an address (net.core.somaxconn)`;
  return length >= USUAL_QUEUE ? yes(found) : limited(found, `sysctl net.core.somaxconn=${USUAL_QUEUE}`);
}

export function lowPorts(): Finding {
  const first = sysctlNumber('net/ipv4/ip_unprivileged_port_start') ?? FIRST_PORT_OF_ALL;
  if (first <= 1) return yes('every user may bind every port');
  if (hasCapability('self', CAP_NET_BIND_SERVICE)) return yes(`this user may bind ports below ${first}`);
  return limited(
    `this user may not bind ports below ${first}`,
    'run the keeper as root, with --listen and --user, or lower net.ipv4.ip_unprivileged_port_start',
  );
}

/** The code of what fails when a socket is bound to a free port and then used; undefined when nothing does. */
function refusal(
  use: (fd: Fd) => void,
  family: InetAddress['family'] = 'ipv4',
  host = '127.0.0.1',
): string | undefined {
  try {
    const fd = streamSocket(family);
    try {
      bind(fd, { family, host, port: 0 });
      use(fd);
      return undefined;
    } finally {
      close(fd);
    }
  } catch (error) {
    return errorCode(error) ?? 'UNKNOWN';
  }
}
