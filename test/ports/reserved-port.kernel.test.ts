import { expect } from 'vitest';
import { testNeeding } from '../support/needing.js';
import { told } from './told.js';

const ORDER = Array.from({ length: 512 }, (_, index) => 1023 - index);

/** A server that closes after its client, and connections that are closed at our end first. */
const SERVER = `
  const server = createServer((socket) => socket.resume().on('end', () => socket.end())).listen(7000, '127.0.0.1');
  await once(server, 'listening');
  const destination = { host: '127.0.0.1', port: 7000 };
  const until = async (look) => { for (let i = 0; !look(); i++) { if (i === 1000) throw new Error('not so: ' + look); await new Promise((r) => setTimeout(r, 10)); } };
  const leaveTimeWait = async (reserved) => {
    const socket = await reserved.connect(destination);
    socket.resume().end();
    await once(socket, 'close');
    await until(() => statesOf(reserved.port).some((state) => state.startsWith('TIME_WAIT')));
  };`;

testNeeding(['netns', 'root'])(
  'all 512 reserved ports are given out in order, and then it is said who has them',
  async () => {
    const seen = await told(`
    const ports = [];
    for (let i = 0; i < 512; i++) ports.push((await reserveReservedPort()).port);
    tell({ ports, more: await failure(reserveReservedPort()), pid: process.pid });`);
    const { ports, more, pid } = seen as { ports: number[]; more: object; pid: number };
    expect(ports).toEqual(ORDER);
    expect(more).toMatchObject({
      code: 'ERR_HOLDFAST_NO_PORT',
      message: `no port is free in 512-1023: 512 bound, 512 of node (pid ${pid}); widen the range or wait`,
    });
  },
);

testNeeding(['netns', 'root'])(
  'ports in TIME_WAIT are free for other destinations, and not as rresvport sees it',
  async () => {
    const seen = await told(
      `${SERVER}
    await Promise.all(Array.from({ length: 512 }, async () => leaveTimeWait(await reserveReservedPort({ destination }))));
    const waiting = kernel.tcpPort({ from: 512, to: 1023 }).leftovers.length;
    const same = await failure(reserveReservedPort({ destination }));
    const classic = await failure(reserveReservedPort({ reuseAddress: false }));
    const ports = [];
    for (let i = 0; i < 512; i++) ports.push((await reserveReservedPort({ destination: { host: '127.0.0.1', port: 7001 } })).port);
    const more = await failure(reserveReservedPort());
    tell({ waiting, same: same.code, classic, ports, more: more.code });
    process.exit();`,
      { timeoutMs: 60_000 },
    );
    expect(seen).toMatchObject({
      waiting: 512,
      same: 'ERR_HOLDFAST_NO_PORT',
      classic: {
        code: 'ERR_HOLDFAST_NO_PORT',
        message: expect.stringMatching(/512 TIME_WAIT, of which the first ends in \d/),
      },
      ports: ORDER,
      more: 'ERR_HOLDFAST_NO_PORT',
    });
  },
);

testNeeding(['netns', 'root'])('a port beside a TIME_WAIT is nobody else’s, and connects', async () => {
  const seen = await told(`${SERVER}
    const first = await reserveReservedPort({ destination });
    await leaveTimeWait(first);
    const second = await reserveReservedPort();
    const thieves = [take('0.0.0.0', second.port), take('0.0.0.0', second.port, { reuse: true }), take('127.0.0.1', second.port, { reuse: true, listen: true })];
    const skipping = await reserveReservedPort({ destination });
    const socket = await second.connect({ host: '127.0.0.1', port: 7000 });
    tell({ ports: [first.port, second.port, skipping.port, socket.localPort], thieves });
    process.exit();`);
  expect(seen).toEqual({ ports: [1023, 1023, 1022, 1023], thieves: [-98, -98, -98] });
});

testNeeding(['netns', 'root'])(
  'of many who ask at once beside TIME_WAITs no two get the same port',
  async () => {
    const seen = await told(
      `${SERVER}
    const { spawn } = await import('node:child_process');
    await Promise.all(Array.from({ length: 100 }, async () => leaveTimeWait(await reserveReservedPort({ destination }))));
    const program = 'import(process.argv[1]).then(async ({ reserveReservedPort }) => { const all = []; for (let i = 0; i < 20; i++) all.push((await reserveReservedPort()).port); console.log(all.join()); process.stdin.resume(); })';
    const children = Array.from({ length: 8 }, () => spawn(process.execPath, ['-e', program, ${JSON.stringify(new URL('../../dist/index.js', import.meta.url).pathname)}], { stdio: ['pipe', 'pipe', 'inherit'] }));
    const ports = (await Promise.all(children.map(async ({ stdout }) => String((await once(stdout, 'data'))[0]).trim().split(',')))).flat();
    for (const child of children) child.stdin.end();
    tell({ count: ports.length, distinct: new Set(ports).size });
    process.exit();`,
      { timeoutMs: 60_000 },
    );
    expect(seen).toEqual({ count: 160, distinct: 160 });
  },
);

testNeeding(['netns', 'root'])('without the right to it one sentence says so', async () => {
  const seen = await told(`
    process.setuid(65534);
    tell(await failure(reserveReservedPort()));`);
  expect(seen).toMatchObject({
    code: 'ERR_HOLDFAST_ADDRESS',
    message: expect.stringContaining(
      'need root, CAP_NET_BIND_SERVICE, or net.ipv4.ip_unprivileged_port_start',
    ),
  });
});

testNeeding(['netns', 'root'])('an ordinary user may where the system lets him', async () => {
  const seen = await told(
    `
    process.setuid(65534);
    const reserved = await reserveReservedPort();
    reserved.release();
    reserved.release();
    tell([reserved.port, (await failure(reserved.connect({ host: '127.0.0.1', port: 1 }))).code, (await failure(reserved.connect())).code, statesOf(1023)]);`,
    { sysctls: { 'net.ipv4.ip_unprivileged_port_start': '512' } },
  );
  expect(seen).toEqual([1023, 'ERR_HOLDFAST_RESERVATION', 'ERR_HOLDFAST_OPTION', []]);
});
