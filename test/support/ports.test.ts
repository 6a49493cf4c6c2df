import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { freePort, freePorts } from './ports.js';
import { tcpSockets } from './proc.js';
import { start } from './process.js';
import { until } from './wait.js';

test('a process never gets a port twice, in one call or in many at once', async () => {
  const ports = [...(await freePorts(100)), ...(await Promise.all(Array.from({ length: 40 }, freePort)))];
  expect(new Set(ports).size).toBe(140);
});

test('4 processes that ask at the same time get 4 times other ports', async () => {
  const code = `
    import { freePorts } from ${JSON.stringify(fileURLToPath(new URL('ports.js', import.meta.url)))};
    console.log(JSON.stringify(await freePorts(70)));
    process.stdin.resume(); // has them until its input ends`;
  const processes = Array.from({ length: 4 }, () =>
    start([process.execPath, '--input-type=module', '-e', code], { stdio: ['pipe', 'pipe', 'pipe'] }),
  );
  const lines = await Promise.all(processes.map((one) => one.line(/^\[.*\]$/)));
  const ports = lines.flatMap(([line]) => JSON.parse(line) as number[]);
  expect(ports).toHaveLength(280);
  expect(new Set(ports).size).toBe(280);
});

test('the ports lie below the ephemeral range', async () => {
  const first = Number(readFileSync('/proc/sys/net/ipv4/ip_local_port_range', 'utf8').split(/\s/)[0]);
  const port = await freePort();
  expect(port).toBeGreaterThan(10_240);
  expect(port).toBeLessThan(first > 12_288 ? first : 32_768);
});

test('a port with a TIME_WAIT is not given', async () => {
  // The port after ours in the same block is what the next call would give.
  const isNext = (port: number): boolean => port % 32 !== 31 && statesOf(port + 1).length === 0;
  const next = (await until('a port with a free neighbour', async () => [await freePort()].find(isNext))) + 1;
  const server = createServer((socket) => socket.end()).listen(next, '127.0.0.1');
  await once(server, 'listening');
  await once(connect(next, '127.0.0.1').resume(), 'close');
  server.close();
  await once(server, 'close');
  expect(statesOf(next)).toEqual(['TIME_WAIT']);
  expect(await freePorts(31)).not.toContain(next);
});

function statesOf(port: number): string[] {
  return tcpSockets()
    .filter((socket) => socket.port === port)
    .map((socket) => socket.state);
}
