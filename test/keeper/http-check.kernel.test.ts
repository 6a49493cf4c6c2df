import { expect } from 'vitest';
import { ADD_ADDRESS, type InsideOptions, inside } from '../kernel/inside.js';
import { testNeeding } from '../support/needing.js';

const MODULES = ['socket-calls', 'reuseport-group', 'sock-diag', 'socket', '../keeper/http-check'];
const TIMES = 60;

/** Counts requests by their path, and tells when asked. Its socket is fd 3. */
const SERVER = `
  const counts = { '/client': 0, '/check': 0 };
  const [, name, status] = process.argv;
  const server = require('node:http').createServer((request, response) => {
    counts[request.url]++;
    response.writeHead(Number(status)).end(name);
  });
  server.on('connection', (socket) => socket.on('error', ({ code }) => { counts[code] = (counts[code] ?? 0) + 1; }));
  process.on('message', () => process.send(counts));
  server.listen({ fd: 3 }, () => process.send('listening'));`;

/** Two generations in one group: the old one, which is not well, and the new one. */
const GENERATIONS = `
  const { spawn } = await import('node:child_process');
  const { once } = await import('node:events');
  const { get } = await import('node:http');
  const PORT = 7000;
  const family = (host) => host.includes(':') ? 'ipv6' : 'ipv4';
  const at = (host) => ({ family: family(host), host, port: PORT });
  const generation = async (host, name, status) => {
    const fd = kernel.streamSocket(family(host));
    kernel.setReusePort(fd, true);
    kernel.bind(fd, at(host));
    kernel.listen(fd, 128);
    const args = ['-e', ${JSON.stringify(SERVER)}, name, String(status)];
    const child = spawn(process.execPath, args, { stdio: ['ignore', 'inherit', 'inherit', fd, 'ipc'] });
    await once(child, 'message');
    return { fd, child };
  };
  const countsOf = async ({ child }) => {
    child.send('tell');
    return (await once(child, 'message'))[0];
  };
  const client = (host) => new Promise((resolve) => {
    const request = get({ host, port: PORT, path: '/client', agent: false }, (response) => {
      response.resume().once('end', resolve);
    });
    request.once('error', resolve);
  });
  const sourcePorts = kernel.chooseCheckPorts(8);
  const check = (host) =>
    kernel.httpCheck({ address: at(host), path: '/check', sourcePorts, timeoutMs: 10_000, everyMs: 10 });`;

interface Place {
  /** Where the group listens. */
  readonly at: string;
  /** The address that the checker is given. */
  readonly asked: string;
  /** Over which address clients come. */
  readonly via: string;
  readonly options?: InsideOptions;
}

const NO_IPV6_LOOPBACK = { sysctls: { 'net.ipv6.conf.lo.disable_ipv6': '1' } };

const PLACES: readonly Place[] = [
  { at: '127.0.0.1', asked: '127.0.0.1', via: '127.0.0.1' },
  { at: '0.0.0.0', asked: '0.0.0.0', via: '127.0.0.1' },
  { at: '::1', asked: '::1', via: '::1' },
  { at: '::', asked: '::', via: '::1' },
  { at: '::', asked: '::', via: '127.0.0.1' },
  { at: '::', asked: '127.0.0.1', via: '::1' },
  { at: '::', asked: '::', via: '127.0.0.1', options: NO_IPV6_LOOPBACK },
];

for (const { at, asked, via, options } of PLACES) {
  const where = `at ${at}, asked at ${asked}${options === undefined ? '' : ' without ::1'}, clients via ${via}`;
  testNeeding('netns')(
    `the new generation is asked while the old one has all clients: ${where}`,
    async () => {
      const told = await inside(
        MODULES,
        `${GENERATIONS}
      const old = await generation('${at}', 'old', 500);
      const fresh = await generation('${at}', 'new', 200);
      kernel.steerGroup(old.fd, { to: [0], check: { sourcePorts, index: 1 }, family: family('${at}') });
      const clients = Promise.all(Array.from({ length: ${TIMES} }, () => client('${via}')));
      const results = [];
      for (let times = 0; times < ${TIMES}; times++) results.push(await check('${asked}'));
      await clients;
      tell({ old: await countsOf(old), fresh: await countsOf(fresh), good: results.filter(({ ok }) => ok).length });
      old.child.kill();
      fresh.child.kill();`,
        { ...options, timeoutMs: 50_000 },
      );
      expect(told).toEqual({
        old: { '/client': TIMES, '/check': 0 },
        fresh: { '/client': 0, '/check': TIMES },
        good: TIMES,
      });
    },
    60_000,
  );
}

testNeeding('netns')('a check leaves nothing behind, at neither end', async () => {
  const told = await inside(
    MODULES,
    `${GENERATIONS}
    const server = await generation('0.0.0.0', 'server', 200);
    kernel.closeFd(server.fd);
    const left = [];
    for (let times = 0; times < 20; times++) {
      await check('0.0.0.0');
      const { sockets, leftovers } = kernel.tcpPort();
      left.push(...sockets.filter(({ state }) => state !== 'LISTEN'), ...leftovers);
    }
    tell({ left: left.map(({ state }) => state), counts: await countsOf(server) });
    server.child.kill();`,
    { timeoutMs: 25_000 },
  );
  expect(told).toEqual({ left: [], counts: { '/client': 0, '/check': 20 } });
});

testNeeding('netns')('a source port with a TIME_WAIT to the same server is left out', async () => {
  const told = await inside(
    MODULES,
    `
    const { openSocket, bindTo, listenWith, connectTo, acceptNow, closeFd } = kernel;
    const { createServer } = await import('node:http');
    const at = (port) => ({ family: 'ipv4', host: '127.0.0.1', port });
    const listener = openSocket('tcp', 'ipv4');
    bindTo(listener, at(7000));
    listenWith(listener, 8);
    const client = openSocket('tcp', 'ipv4');
    bindTo(client, at(7001));
    connectTo(client, at(7000));
    const child = acceptNow(listener);
    closeFd(client);
    closeFd(child);
    const before = kernel.tcpPort(7001).leftovers.map(({ state }) => state);
    const seen = [];
    createServer((request, response) => {
      seen.push(request.socket.remotePort);
      response.end();
    }).listen({ fd: listener });
    const sourcePorts = { from: 7001, to: 7002 };
    const result = await kernel.httpCheck({ address: at(7000), path: '/', sourcePorts, timeoutMs: 10_000, everyMs: 10 });
    tell({ before, result, seen });
    process.exit();`,
    // With 2, the default, a connection over loopback may take the place of one that is older than a second.
    { sysctls: { 'net.ipv4.tcp_tw_reuse': '0' } },
  );
  expect(told).toEqual({ before: ['TIME_WAIT'], result: { ok: true }, seen: [7002] });
});

testNeeding('netns')('a server at a link-local address is asked by its interface', async () => {
  const told = await inside(
    MODULES,
    `${ADD_ADDRESS}
    const { createServer } = await import('node:http');
    addAddress('fe80::1/64');
    const seen = [];
    createServer(({ socket, headers }, response) => {
      seen.push(socket.remoteAddress, headers.host);
      response.end();
    }).listen(7000, 'fe80::1%lo');
    const address = { family: 'ipv6', host: 'fe80::1', port: 7000, scopeId: 1 };
    const sourcePorts = kernel.chooseCheckPorts(1);
    const result = await kernel.httpCheck({ address, path: '/', sourcePorts, timeoutMs: 10_000, everyMs: 10 });
    tell({ result, seen });
    process.exit();`,
  );
  expect(told).toEqual({ result: { ok: true }, seen: ['fe80::1%lo', '[fe80::1]:7000'] });
});

/** So that no more than ten ports are beyond the kernel's own. */
const TEN = { 'net.ipv4.ip_local_port_range': '1024 65525' };

testNeeding('netns')(
  'ports to ask from are free, and where the kernel chooses none for clients',
  async () => {
    const told = await inside(
      MODULES,
      `tell(Array.from({ length: 20 }, () => kernel.chooseCheckPorts(16)));`,
      { sysctls: { 'net.ipv4.ip_local_port_range': '32768 60999' } },
    );
    const ranges = told as readonly { readonly from: number; readonly to: number }[];
    expect(ranges.filter(({ from, to }) => from < 61_000 || to > 65_535 || to - from !== 15)).toEqual([]);
    expect(new Set(ranges.map(({ from }) => from)).size).toBeGreaterThan(10);
  },
);

testNeeding(['netns', 'bound sockets'])('ports that any socket has are not chosen', async () => {
  const told = await inside(
    MODULES,
    `
    const { openSocket, bindTo, listenWith, connectTo, acceptNow, closeFd, chooseCheckPorts } = kernel;
    const at = (host, port) => ({ family: host.includes(':') ? 'ipv6' : 'ipv4', host, port });
    // Bound, listening, and left over in TIME_WAIT.
    bindTo(openSocket('tcp', 'ipv6'), at('::1', 65526));
    const listener = openSocket('tcp', 'ipv4');
    bindTo(listener, at('127.0.0.1', 65529));
    listenWith(listener, 8);
    const client = openSocket('tcp', 'ipv4');
    bindTo(client, at('127.0.0.1', 65532));
    connectTo(client, at('127.0.0.1', 65529));
    const child = acceptNow(listener);
    closeFd(client);
    closeFd(child);
    tell({ three: chooseCheckPorts(3), states: kernel.tcpPort(65532).leftovers.map(({ state }) => state) });`,
    { sysctls: TEN },
  );
  expect(told).toEqual({ three: { from: 65_533, to: 65_535 }, states: ['TIME_WAIT'] });
});

testNeeding('netns')(
  'reserved ports are not chosen, and those of clients when there are no others',
  async () => {
    const choose = `tell([1, 5, 6].map((count) => kernel.chooseCheckPorts(count)));`;
    const sysctls = { ...TEN, 'net.ipv4.ip_local_reserved_ports': '65526-65529,65531' };
    const told = await inside(MODULES, choose, { sysctls });
    const [one, five, six] = told as readonly { readonly from: number; readonly to: number }[];
    expect([65_530, 65_532, 65_533, 65_534, 65_535]).toContain(one?.from);
    expect(five?.to).toBeLessThan(65_526);
    expect(six?.from).toBeGreaterThanOrEqual(1_024);
  },
);

testNeeding('netns')('more ports than there are cannot be chosen', async () => {
  const told = await inside(MODULES, `tell(codeOf(() => kernel.chooseCheckPorts(65_536)));`);
  expect(told).toBe('ERR_HOLDFAST_ADDRESS_TAKEN');
});
