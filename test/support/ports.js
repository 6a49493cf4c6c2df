// Free TCP ports for tests that run at the same time in several processes. Plain JavaScript, so that its own test
// and the benches can run it in processes of their own.
//
// Ports come from blocks below the ephemeral range, so that no outgoing connection takes one. A block belongs to the
// process that listens on the block's first port: the kernel lets one have it, and frees it when that process ends,
// however it ends. That first port is never given away.

import { readFileSync } from 'node:fs';
import { createServer } from 'node:net';

const BLOCK = 32;
const FIRST = 10_240;
const END = Math.min(32_768, firstEphemeral());

const free = [];
let claim;

export async function freePort() {
  const [port] = await freePorts(1);
  return port;
}

export async function freePorts(count) {
  const taken = localPorts();
  const ports = [];
  while (ports.length < count) {
    const port = free.shift();
    if (port === undefined) await claimMore();
    else if (!taken.has(port)) ports.push(port);
  }
  return ports;
}

/** One claim at a time, for all that wait for ports. */
async function claimMore() {
  claim ??= claimBlock().finally(() => {
    claim = undefined;
  });
  await claim;
}

async function claimBlock() {
  const blocks = Math.floor((END - FIRST) / BLOCK);
  // A random start: the block of a process that just ended has its TIME_WAITs.
  const start = Math.floor(Math.random() * blocks);
  for (let i = 0; i < blocks; i++) {
    const guard = FIRST + ((start + i) % blocks) * BLOCK;
    if (await hold(guard)) {
      for (let port = guard + 1; port < guard + BLOCK; port++) free.push(port);
      return;
    }
  }
  throw new Error(`every block of ports from ${FIRST} to ${END} is taken`);
}

/** Listens on the port until this process ends. Gives false when somebody else has it. */
function hold(port) {
  return new Promise((resolve, reject) => {
    const guard = createServer((socket) => socket.destroy());
    guard.unref();
    guard.once('error', (error) => (error.code === 'EADDRINUSE' ? resolve(false) : reject(error)));
    guard.listen({ port, host: '127.0.0.1', exclusive: true }, () => resolve(true));
  });
}

/** Every local port of a TCP socket in any state, of this network namespace. */
function localPorts() {
  const lines = ['tcp', 'tcp6'].flatMap((file) => {
    try {
      return readFileSync(`/proc/net/${file}`, 'utf8').split('\n').slice(1);
    } catch {
      return []; // ENOENT: a kernel without IPv6
    }
  });
  return new Set(
    lines.map((line) => Number.parseInt(/^ *\d+: [0-9A-F]+:([0-9A-F]{4})/.exec(line)?.[1] ?? '', 16)),
  );
}

function firstEphemeral() {
  const first = Number(readFileSync('/proc/sys/net/ipv4/ip_local_port_range', 'utf8').split(/\s/)[0]);
  // A range that leaves no room below it is shared with outgoing connections.
  return first >= FIRST + 64 * BLOCK ? first : 32_768;
}
