import { spawnSync } from 'node:child_process';
import { HoldfastError } from '../errors.js';
import { enterNewNetworkNamespace, setSysctl } from '../kernel/netns.js';
import { pauseThread } from '../kernel/pause.js';
import type { Addresses, Sysctls } from '../model/world.js';

/** An interface that nothing arrives over. */
export const OTHER_DEVICE = 'other0';
const OTHER_END = 'peer0';

/** The addresses that a stage has besides 127.0.0.0/8, all on `lo`. */
export const STAGE_ADDRESSES: Addresses = {
  ipv4: ['10.9.0.1'],
  ipv6: ['::1', 'fd00:9::1'],
  broadcast: ['127.255.255.255'],
  devices: ['lo', OTHER_DEVICE, OTHER_END],
};

const TRIES = 5;

/**
 * What makes loopback deterministic: without quickack the closer of a connection waits up to 40 ms in FIN_WAIT1 for an
 * ACK.
 */
const LINES4 = [
  'link set lo up',
  `link add ${OTHER_DEVICE} type veth peer name ${OTHER_END}`,
  'addr add 10.9.0.1/32 dev lo',
  ...['127.0.0.1', '127.0.0.0/8', '10.9.0.1'].map(
    (to) =>
      `route change local ${to} dev lo table local proto kernel scope host src ${to.replace('0/8', '1')} quickack 1`,
  ),
];
const SIX = ['::1', 'fd00:9::1'];
const LINES6 = ['addr add fd00:9::1/128 dev lo nodad'];
/** The route of a new address comes a moment after the address. */
const ROUTE_TRIES = 200;
const ROUTE_PAUSE_MS = 5;

/** Puts the main thread into a new namespace with the stage's addresses. */
export function enterStage(): void {
  for (let attempt = 1; ; attempt++) {
    enterNewNetworkNamespace();
    const failure = setUp();
    if (failure === undefined) break;
    // Right after an address was added its route is not always there yet.
    if (attempt === TRIES)
      throw new HoldfastError('ERR_HOLDFAST_LAB', `no network namespace to try things in: ${failure}`);
  }
}

function setUp(): string | undefined {
  const failure = ip(['-batch', '-'], LINES4) ?? ip(['-6', '-batch', '-'], LINES6);
  if (failure !== undefined) return failure;
  for (const host of SIX) {
    const failed = makeQuick(host);
    if (failed !== undefined) return failed;
  }
  return undefined;
}

/** Its route is made anew: a local IPv6 route cannot be changed. */
function makeQuick(host: string): string | undefined {
  const route = ['local', host, 'dev', 'lo', 'table', 'local'];
  let failure = ip(['-6', 'route', 'del', ...route]);
  for (let tries = 1; failure !== undefined && tries < ROUTE_TRIES; tries++) {
    pauseThread(ROUTE_PAUSE_MS);
    failure = ip(['-6', 'route', 'del', ...route]);
  }
  return failure ?? ip(['-6', 'route', 'add', ...route, 'proto', 'kernel', 'metric', '0', 'quickack', '1']);
}

function ip(args: readonly string[], lines: readonly string[] = []): string | undefined {
  const { status, stderr, error } = spawnSync('ip', args, { input: lines.join('\n'), encoding: 'utf8' });
  if (error !== undefined) return `ip cannot be run (${error.message}); it is in Debian's package iproute2`;
  return status === 0 ? undefined : `ip ${args.join(' ')}: ${stderr.trim()}`;
}

/** Brings the stage's settings to these values; `before` are those that it has. */
export function applySysctls(wanted: Sysctls, before: Sysctls | undefined): void {
  const write = (path: string, of: (sysctls: Sysctls) => string): void => {
    const value = of(wanted);
    if (before === undefined || of(before) !== value) setSysctl(path, value);
  };
  const bit = (on: boolean): string => (on ? '1' : '0');
  // The kernel insists that unprivileged ports begin below the range, at every moment.
  if (before === undefined || wanted.portRange.low < before.unprivilegedPortStart) {
    setSysctl('net/ipv4/ip_unprivileged_port_start', '0');
    setSysctl('net/ipv4/ip_local_port_range', `${wanted.portRange.low} ${wanted.portRange.high}`);
    setSysctl('net/ipv4/ip_unprivileged_port_start', `${wanted.unprivilegedPortStart}`);
  } else {
    write('net/ipv4/ip_local_port_range', ({ portRange }) => `${portRange.low} ${portRange.high}`);
    write('net/ipv4/ip_unprivileged_port_start', ({ unprivilegedPortStart }) => `${unprivilegedPortStart}`);
  }
  write('net/ipv4/ip_local_reserved_ports', ({ reservedPorts }) => reservedPorts.join(',') || '\n');
  write('net/ipv4/ip_autobind_reuse', ({ autobindReuse }) => bit(autobindReuse));
  write('net/ipv4/tcp_tw_reuse', ({ twReuse }) => `${twReuse}`);
  write('net/ipv4/tcp_tw_reuse_delay', ({ twReuseDelayMs }) => `${twReuseDelayMs}`);
  write('net/ipv4/tcp_max_tw_buckets', ({ maxTwBuckets }) => `${maxTwBuckets}`);
  write('net/ipv4/tcp_fin_timeout', ({ finTimeoutS }) => `${finTimeoutS}`);
  write('net/ipv4/tcp_timestamps', ({ timestamps }) => bit(timestamps));
  write('net/ipv4/ip_nonlocal_bind', ({ nonlocalBind4 }) => bit(nonlocalBind4));
  write('net/ipv6/ip_nonlocal_bind', ({ nonlocalBind6 }) => bit(nonlocalBind6));
  write('net/ipv6/bindv6only', ({ v6only }) => bit(v6only));
}
