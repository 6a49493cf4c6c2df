import { expect } from 'vitest';
import { testNeeding } from '../support/needing.js';
import { told } from './told.js';

/** Servers that keep their connections, one on each port. */
const SERVERS = `
  const serve = async (port, host = '127.0.0.1') => {
    const server = createServer((socket) => socket.on('error', () => {}).resume()).listen(port, host);
    await once(server, 'listening');
    return { host, port };
  };
  const ends = (socket) => socket.localAddress + ':' + socket.localPort + ' ' + socket.remotePort;`;

for (const node of [undefined, 'node22', 'node24'] as const) {
  testNeeding(node === undefined ? 'netns' : ['netns', node])(
    `a connection has the local address and port that were chosen, and is a stream as any${node ? `, in ${node}` : ''}`,
    async () => {
      const seen = await told(
        `
      const server = createServer((socket) => socket.pipe(socket)).listen(7000, '127.0.0.1');
      await once(server, 'listening');
      const socket = await connectFrom({ localAddress: '127.0.0.3', localPort: 4000 }, { host: '127.0.0.1', port: 7000 });
      const local = socket.localAddress + ':' + socket.localPort;
      socket.write('hello');
      const [text] = await once(socket, 'data');
      socket.end();
      await once(socket, 'close');
      const refused = await failure(connectFrom({ localPort: 4001 }, { host: '127.0.0.1', port: 7001 }));
      tell({ local, text: String(text), refused: refused.code });
      process.exit();`,
        { node },
      );
      expect(seen).toEqual({ local: '127.0.0.3:4000', text: 'hello', refused: 'ECONNREFUSED' });
    },
  );
}

testNeeding('netns')('one local port has connections to several destinations', async () => {
  const seen = await told(`${SERVERS}
    const destinations = [await serve(7000), await serve(7001), await serve(7000, '::1')];
    const sockets = [];
    for (const to of destinations.slice(0, 2)) sockets.push(await connectFrom({ localPort: 4000 }, to));
    sockets.push(await connectFrom({ localPort: 4000, localAddress: '::1' }, destinations[2]));
    tell(sockets.map(ends));
    process.exit();`);
  expect(seen).toEqual(['127.0.0.1:4000 7000', '127.0.0.1:4000 7001', '::1:4000 7000']);
});

testNeeding('netns')('a connection that is in the way is told, alive or in TIME_WAIT', async () => {
  const seen = await told(`${SERVERS}
    const to = await serve(7000);
    const from = { localAddress: '127.0.0.1', localPort: 4000 };
    const first = await connectFrom(from, to);
    const alive = await failure(connectFrom(from, to));
    tell({ alive, pid: process.pid });
    process.exit();`);
  const { alive, pid } = seen as { alive: object; pid: number };
  expect(alive).toEqual({
    code: 'ERR_HOLDFAST_CONNECTION_EXISTS',
    cause: 'EADDRNOTAVAIL',
    message: `there is a connection from 127.0.0.1:4000 to 127.0.0.1:7000 already: ESTABLISHED of node (pid ${pid})`,
  });
});

testNeeding('netns')(
  'a TIME_WAIT of the same two ends is taken over, unless there are no timestamps',
  async () => {
    const code = `${SERVERS}
      const until = async (look) => { for (let i = 0; !look(); i++) { if (i === 500) throw new Error('not so: ' + look); await new Promise((r) => setTimeout(r, 10)); } };
      const to = await serve(7000);
      const from = { localAddress: '127.0.0.1', localPort: 4000 };
      const first = await connectFrom(from, to);
      first.resume().end();
      await once(first, 'close');
      await until(() => statesOf(4000).join() === 'TIME_WAIT 127.0.0.1');
      const again = await failure(connectFrom(from, to));
      tell(again.code === undefined ? ends(again) : again);
      process.exit();`;
    expect(await told(code)).toBe('127.0.0.1:4000 7000');
    expect(await told(code, { sysctls: { 'net.ipv4.tcp_timestamps': '0' } })).toEqual({
      code: 'ERR_HOLDFAST_CONNECTION_EXISTS',
      cause: 'EADDRNOTAVAIL',
      message: expect.stringMatching(
        /127.0.0.1:4000 to 127.0.0.1:7000 already: TIME_WAIT, ends in (59|60)(\.\d)? s$/,
      ),
    });
  },
);

testNeeding('netns')(
  'bound late, every destination has all ports; bound early, all destinations share them',
  async () => {
    const seen = await told(
      `${SERVERS}
    const [one, other] = [await serve(7000), await serve(7001)];
    const count = async (options, to) => {
      const sockets = [];
      for (;;) {
        const socket = await failure(connectFrom({ localAddress: '127.0.0.1', ...options }, to));
        if (socket.code !== undefined) return { count: sockets.length, code: socket.code, message: socket.message, sockets };
        sockets.push(socket);
      }
    };
    const late = [await count({}, one), await count({}, other)];
    for (const { sockets } of late) for (const socket of sockets) socket.resetAndDestroy();
    await new Promise((resolve) => setImmediate(() => setImmediate(resolve)));
    const early = [await count({ bindLate: false }, one), await count({ bindLate: false }, other)];
    tell({ late: late.map(({ count }) => count), early: early.map(({ count }) => count), codes: [...late, ...early].map(({ code }) => code), message: late[0].message, pid: process.pid });
    process.exit();`,
      { sysctls: { 'net.ipv4.ip_local_port_range': '20000 20019' } },
    );
    const { pid, ...rest } = seen as { pid: number };
    expect(rest).toEqual({
      late: [20, 20],
      early: [20, 0],
      codes: Array.from({ length: 4 }, () => 'ERR_HOLDFAST_NO_PORT'),
      message: `no local port of 20000-20019 is left for a connection to 127.0.0.1:7000: 20 ESTABLISHED, 20 of node (pid ${pid})`,
    });
  },
);

testNeeding('netns')(
  'a range is used up to its last port, by the kernel or one by one, and then says what holds it',
  async () => {
    const seen = await told(`${SERVERS}
    const to = await serve(7000);
    const results = {};
    for (const [name, options] of Object.entries({ kernel: { range: { from: 40000, to: 40009 } }, outside: { range: { from: 30000, to: 30009 } }, each: { range: { from: 31000, to: 31009 }, bindLate: false } })) {
      const ports = [];
      let error;
      while (error === undefined) {
        const socket = await failure(connectFrom(options, to));
        if (socket.code === undefined) ports.push(socket.localPort);
        else error = socket;
      }
      results[name] = { ports: ports.sort(), code: error.code, message: error.message.replace(/pid \\d+/, 'pid') };
    }
    tell(results);
    process.exit();`);
    const all = (from: number): unknown => ({
      ports: Array.from({ length: 10 }, (_, index) => from + index),
      code: 'ERR_HOLDFAST_NO_PORT',
      message: `no local port of ${from}-${from + 9} is left for a connection to 127.0.0.1:7000: 10 ESTABLISHED, 10 of node (pid)`,
    });
    expect(seen).toEqual({ kernel: all(40_000), outside: all(30_000), each: all(31_000) });
  },
);

testNeeding('netns')('a local port that is bound and not shared is told', async () => {
  const seen = await told(`${SERVERS}
    const to = await serve(7000);
    take('127.0.0.1', 4000);
    tell(await failure(connectFrom({ localPort: 4000 }, to)));
    process.exit();`);
  expect(seen).toMatchObject({
    code: 'ERR_HOLDFAST_ADDRESS_TAKEN',
    message: expect.stringContaining('0.0.0.0:4000 is bound already'),
  });
});

testNeeding('netns')('what cannot be is refused, and says why', async () => {
  const seen = await told(`
    const to = { host: '127.0.0.1', port: 7000 };
    const aborted = AbortSignal.abort();
    tell(await Promise.all([
      [{ localPort: 0 }, to], [{ localPort: 70000 }, to], [{ range: { from: 0, to: 5 } }, to],
      [{ localPort: 5, range: { from: 1, to: 5 } }, to], [{ localPort: 5, bindLate: true }, to],
      [{ localAddress: '10.1.2.3' }, to], [{ localAddress: 'somewhere' }, to], [{ localAddress: '::1' }, to],
      [{}, { host: '127.0.0.1', port: 0 }], [{ signal: aborted }, to],
    ].map(([options, destination]) => failure(connectFrom(options, destination)))).then((all) => all.map(({ code, message }) => [code, message])));`);
  const option = (text: string): unknown => ['ERR_HOLDFAST_OPTION', expect.stringContaining(text)];
  const address = (text: string): unknown => ['ERR_HOLDFAST_ADDRESS', expect.stringContaining(text)];
  expect(seen).toEqual([
    option('0-0'),
    option('70000'),
    option('0-5'),
    option('either localPort or range'),
    option('bindLate leaves the port to the kernel'),
    address('no interface of this machine has 10.1.2.3'),
    address('"somewhere" is no IP address'),
    option('one is IPv4 and the other IPv6'),
    address("the destination's port 0"),
    [20, expect.stringContaining('aborted')],
  ]);
});
