import { readlinkSync } from 'node:fs';
import { expect } from 'vitest';
import { startLoadProcess } from './load-process.js';
import { testNeeding } from './needing.js';
import { inFreshNetns, openNetns } from './netns.js';
import { listeners, untilListening } from './proc.js';
import { start } from './process.js';
import { nodeHttp } from './servers.js';

const test = testNeeding('netns');

test('a fresh network namespace has lo up and nobody in it', async () => {
  const inside = start(
    inFreshNetns(['sh', '-c', 'readlink /proc/self/ns/net; cat /proc/net/dev /proc/net/tcp']),
  );
  await inside.end();
  const [namespace] = inside.stdout.split('\n');
  expect(namespace).not.toBe(readlinkSync('/proc/self/ns/net'));
  expect(inside.stdout).toContain('lo:');
  expect(inside.stdout).not.toMatch(/\d+: [0-9A-F]{8}:/); // no socket
});

test('sysctls are set before the command starts, there only', async () => {
  const read = ['cat', '/proc/sys/net/ipv4/tcp_fin_timeout'];
  const inside = start(inFreshNetns(read, { sysctls: { 'net.ipv4.tcp_fin_timeout': '17' } }));
  const outside = start(read);
  await Promise.all([inside.end(), outside.end()]);
  expect(inside.stdout).toBe('17\n');
  expect(outside.stdout).not.toBe('17\n');
});

test('a server and a load meet in one namespace, on a port that is free here', async () => {
  const netns = await openNetns();
  const port = 8080;
  const server = start(netns.command(nodeHttp.command(port, '--host', '127.0.0.1')));
  await server.line(/^listening on 8080/);
  expect(await untilListening(port, { pid: netns.pid })).toHaveLength(1);
  expect(listeners(port).filter((socket) => socket.host === '127.0.0.1')).toEqual([]);
  const load = await startLoadProcess({ port, ratePerSecond: 200 }, netns.command);
  const { ok, failures } = await load.stop();
  expect(failures).toEqual([]);
  expect(ok).toBeGreaterThan(0);
  await netns.close();
});
