import { expect } from 'vitest';
import { ADD_ADDRESS } from '../kernel/inside.js';
import { testNeeding } from '../support/needing.js';
import { LIBRARY, told } from './told.js';

const TWENTY = { 'net.ipv4.ip_local_port_range': '20000 20019' };
const EADDRINUSE = -98;
const HOSTS = `['127.0.0.1', '0.0.0.0', '127.0.0.2', '::1', '::']`;

testNeeding('netns')(
  "what is reserved is not the kernel's choice, at no address and for no connection",
  async () => {
    const seen = await told(
      `
    const reserved = (await reservePort({ count: 10 })).map(({ port }) => port);
    const thieves = ${HOSTS}.flatMap((host) => [false, true].flatMap((reuse) => {
      const got = [];
      for (let port = 1; port > 0 && got.length < 50; ) {
        port = take(host, 0, { reuse });
        if (port > 0) got.push(port);
      }
      return got;
    }));
    const server = createServer().listen(7000, '127.0.0.1');
    await once(server, 'listening');
    const connected = [];
    for (let port; port !== null && connected.length < 50; ) {
      const client = connect(7000, '127.0.0.1');
      port = await Promise.race([once(client, 'connect').then(() => client.localPort), once(client, 'error').then(() => null)]).catch(() => null);
      if (port !== null) connected.push(port);
    }
    tell({ reserved: reserved.length, distinct: new Set(reserved).size, thieves: thieves.length,
      stolen: [...thieves, ...connected].filter((port) => reserved.includes(port)) });
    process.exit();`,
      { sysctls: TWENTY },
    );
    expect(seen).toMatchObject({ reserved: 10, distinct: 10, stolen: [] });
    // The other ten were there to be had.
    expect((seen as { thieves: number }).thieves).toBeGreaterThanOrEqual(10);
  },
);

testNeeding('netns')(
  'who sets SO_REUSEADDR listens on a reserved port at any address, others do not',
  async () => {
    const seen = await told(`
    const results = {};
    for (const host of ${HOSTS}) {
      const { port } = await reservePort();
      results[host] = [take(host, port), take(host, port, { reuse: true, listen: true }) === port];
    }
    tell(results);`);
    const both = [EADDRINUSE, true];
    expect(seen).toEqual({ '127.0.0.1': both, '0.0.0.0': both, '127.0.0.2': both, '::1': both, '::': both });
  },
);

testNeeding('netns')('a server of Node listens on a reserved port, and serves', async () => {
  const seen = await told(`
    const reservation = await reservePort();
    const server = createServer((socket) => socket.end('served')).listen(reservation.port);
    await once(server, 'listening');
    const client = connect(reservation.port, '127.0.0.1');
    const [text] = await once(client, 'data');
    tell({ text: String(text), env: reservation.env.PORT === String(reservation.port) });
    process.exit();`);
  expect(seen).toEqual({ text: 'served', env: true });
});

testNeeding('netns')(
  'nobody binds an exclusive port, and its listener is there without a moment between',
  async () => {
    const seen = await told(`
    const reservation = await reservePort({ exclusive: true });
    const { port } = reservation;
    const thieves = ['127.0.0.1', '0.0.0.0', '::'].flatMap((host) => [take(host, port), take(host, port, { reuse: true })]);
    const server = await reservation.listener(createServer((socket) => socket.end('served')));
    const client = connect(port, '127.0.0.1');
    const [text] = await once(client, 'data');
    const over = await failure(reservation.listener());
    server.close();
    await once(client, 'close');
    // With a TIME_WAIT of its own it is bound again, as every server is.
    tell({ thieves, text: String(text), address: server.address() ?? 'closed', over: over.code,
      again: take('127.0.0.1', port, { reuse: true, listen: true }) === port });`);
    expect(seen).toEqual({
      thieves: Array.from({ length: 6 }, () => EADDRINUSE),
      text: 'served',
      address: 'closed',
      over: 'ERR_HOLDFAST_RESERVATION',
      again: true,
    });
  },
);

testNeeding('netns')(
  'a listener as an fd is on the host of the reservation, and otherwise on loopback',
  async () => {
    const seen = await told(`
    const options = [{}, { host: '::1' }, { host: '0.0.0.0' }, { exclusive: true, host: '127.0.0.2' }];
    const listening = [];
    for (const one of options) {
      const reservation = await reservePort(one);
      const fd = await reservation.listener();
      listening.push([kernel.nameOf(fd).host, kernel.tcpStateOf(fd).state, reservation.fds.length, statesOf(reservation.port)]);
    }
    tell(listening);`);
    const on = (host: string, shown = host): unknown[] => [host, 'LISTEN', 0, [`LISTEN ${shown}`]];
    expect(seen).toEqual([on('127.0.0.1'), on('::1'), on('0.0.0.0'), on('127.0.0.2')]);
  },
);

testNeeding('netns')('who knew the number and was faster is told of', async () => {
  const seen = await told(`
    const reservation = await reservePort();
    take('127.0.0.1', reservation.port, { reuse: true, listen: true });
    const { code, message, cause } = await failure(reservation.listener());
    tell({ code, cause, message: message.replaceAll(reservation.port, 'PORT'), held: reservation.fds.length });`);
  expect(seen).toEqual({
    code: 'ERR_HOLDFAST_ADDRESS_TAKEN',
    cause: 'EADDRINUSE',
    message: expect.stringContaining('127.0.0.1:PORT has been taken'),
    held: 3,
  });
});

testNeeding('netns')('a thousand ports are a thousand reservations, exclusive or not', async () => {
  const seen = await told(
    `
    const shared = await reservePort({ count: 1000 });
    const more = await failure(reservePort());
    for (const reservation of shared) reservation.release();
    const exclusive = await reservePort({ count: 1000, exclusive: true });
    for (const reservation of exclusive) reservation.release();
    const ranged = await reservePort({ count: 1000, range: { from: 20000, to: 20999 } });
    for (const reservation of ranged.slice(1)) reservation.release();
    tell({ counts: [shared, exclusive, ranged].map((all) => new Set(all.map(({ port }) => port)).size), more,
      left: statesOf(ranged[1].port) });`,
    { sysctls: { 'net.ipv4.ip_local_port_range': '20000 20999' } },
  );
  expect(seen).toMatchObject({
    counts: [1000, 1000, 1000],
    more: {
      code: 'ERR_HOLDFAST_NO_PORT',
      message: expect.stringMatching(
        /no port is free in 20000-20999: .*1000 bound.*2000 ESTABLISHED.*3000 of node \(pid \d+\)|no port is free in 20000-20999: .*2000 ESTABLISHED.*1000 bound.*3000 of node \(pid \d+\)/,
      ),
    },
    left: [],
  });
});

testNeeding('netns')('of several ports all are reserved, or none', async () => {
  const seen = await told(`
    const range = { from: 20000, to: 20009 };
    await reservePort({ range, count: 3 });
    const { code, message } = await failure(reservePort({ range, count: 8 }));
    const rest = await reservePort({ range, count: 7 });
    tell({ code, message, rest: rest.length });`);
  expect(seen).toEqual({
    code: 'ERR_HOLDFAST_NO_PORT',
    message: expect.stringContaining('of 8 ports 7 are free in 20000-20009'),
    rest: 7,
  });
});

testNeeding('netns')('what cannot be is refused, and says why', async () => {
  const seen = await told(`
    const all = [{ range: { from: 0, to: 9 } }, { range: { from: 9, to: 1 } }, { count: 0 }, { count: 1.5 },
      { range: { from: 1, to: 3 }, count: 4 }, { host: '10.1.2.3' }, { host: 'localhost' }, { host: 'example.com' }];
    tell(await Promise.all(all.map((one) => failure(reservePort(one)))));`);
  const error = (code: string, text: string): unknown =>
    expect.objectContaining({ code: `ERR_HOLDFAST_${code}`, message: expect.stringContaining(text) });
  expect(seen).toEqual([
    error('OPTION', 'the range 0-9: a port is a whole number from 1 to 65535'),
    error('OPTION', 'ends before it begins'),
    error('OPTION', '0 ports'),
    error('OPTION', '1.5 ports'),
    error('OPTION', 'the range 1-3 has no 4 ports'),
    error('ADDRESS', 'no interface of this machine has 10.1.2.3'),
    error('ADDRESS', '127.0.0.1 or ::1'),
    error('ADDRESS', '"example.com" is no IP address'),
  ]);
});

testNeeding('netns')(
  'what is left to the kernel is in TIME_WAIT at every address, for a minute',
  async () => {
    const seen = await told(`${ADD_ADDRESS}
    addAddress('10.0.0.5/24');
    const reservation = await reservePort();
    const { port } = reservation;
    const ms = await reservation.leave();
    tell({ ms, states: statesOf(port), held: reservation.fds.length,
      thieves: ['127.0.0.1', '10.0.0.5', '0.0.0.0', '::1', '::'].map((host) => take(host, port)),
      owner: take('0.0.0.0', port, { reuse: true, listen: true }) === port });`);
    expect(seen).toEqual({
      ms: expect.any(Number),
      states: ['TIME_WAIT 10.0.0.5', 'TIME_WAIT 127.0.0.1', 'TIME_WAIT ::1'],
      held: 0,
      thieves: Array.from({ length: 5 }, () => EADDRINUSE),
      owner: true,
    });
    const { ms } = seen as { ms: number };
    expect(ms).toBeGreaterThan(58_000);
    expect(ms).toBeLessThanOrEqual(60_000);
  },
);

testNeeding('netns')(
  'where the kernel keeps no TIME_WAIT that is told, and the port is still held',
  async () => {
    const seen = await told(
      `
    const reservation = await reservePort();
    const { code, message } = await failure(reservation.leave());
    const held = [reservation.fds.length > 0, take('127.0.0.1', reservation.port)];
    reservation.release();
    tell({ code, message, held, after: take('127.0.0.1', reservation.port) === reservation.port });`,
      { sysctls: { 'net.ipv4.tcp_max_tw_buckets': '0' } },
    );
    expect(seen).toEqual({
      code: 'ERR_HOLDFAST_NOT_KEPT',
      message: expect.stringContaining('tcp_max_tw_buckets'),
      held: [true, EADDRINUSE],
      after: true,
    });
  },
);

testNeeding('netns')('what is released is free at once, and leaves nothing', async () => {
  const seen = await told(`
    const results = [];
    for (const options of [{}, { exclusive: true }, { host: '127.0.0.1' }]) {
      const reservation = await reservePort(options);
      reservation.release();
      reservation.release();
      results.push([statesOf(reservation.port), take('::', reservation.port) === reservation.port]);
    }
    tell(results);`);
  expect(seen).toEqual([
    [[], true],
    [[], true],
    [[], true],
  ]);
});

testNeeding('netns')('without IPv6 every address is every one of IPv4', async () => {
  const seen = await told(
    `
    const { port } = await reservePort();
    tell({ states: statesOf(port), thief: take('0.0.0.0', port), owner: take('0.0.0.0', port, { reuse: true, listen: true }) === port });`,
    { sysctls: { 'net.ipv6.conf.all.disable_ipv6': '1' } },
  );
  expect(seen).toEqual({
    states: ['CLOSE ::', 'ESTABLISHED 127.0.0.1'],
    thief: EADDRINUSE,
    owner: true,
  });
});

testNeeding('netns')('a killed reserver leaves TIME_WAIT behind, each time', async () => {
  const seen = await told(
    `
    const { spawn } = await import('node:child_process');
    const program = 'import(process.argv[1]).then(async ({ reservePort }) => { console.log((await reservePort()).port); setInterval(() => {}, 1000); })';
    const results = [];
    for (let round = 0; round < 10; round++) {
      const child = spawn(process.execPath, ['-e', program, ${JSON.stringify(LIBRARY)}], { stdio: ['ignore', 'pipe', 'inherit'] });
      const port = Number(String((await once(child.stdout, 'data'))[0]));
      child.kill('SIGKILL');
      await once(child, 'exit');
      results.push([statesOf(port).join(), take('127.0.0.1', port), take('::', port), take('::', port, { reuse: true, listen: true }) === port].join(' '));
    }
    tell([...new Set(results)]);`,
    { timeoutMs: 60_000 },
  );
  expect(seen).toEqual([`TIME_WAIT 127.0.0.1,TIME_WAIT ::1 ${EADDRINUSE} ${EADDRINUSE} true`]);
});

testNeeding('netns')(
  'with ports that are tried one by one with SO_REUSEADDR nobody shares a port',
  async () => {
    const seen = await told(
      `
    // Somebody who binds and listens by number is faster or slower, but both never have the same port.
    const range = { from: 20000, to: 20199 };
    const scanned = [];
    const reserved = [];
    for (let port = range.from; port <= range.to; port += 2) {
      if (take('0.0.0.0', port, { reuse: true, listen: true }) === port) scanned.push(port);
    }
    for (const reservation of await reservePort({ range, count: 100 })) {
      await reservation.listener();
      reserved.push(reservation.port);
    }
    tell({ scanned: scanned.length, reserved: reserved.length, shared: scanned.filter((port) => reserved.includes(port)) });`,
    );
    expect(seen).toEqual({ scanned: 100, reserved: 100, shared: [] });
  },
);
