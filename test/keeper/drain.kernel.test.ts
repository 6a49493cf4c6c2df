import { expect } from 'vitest';
import { inside } from '../kernel/inside.js';
import { testNeeding } from '../support/needing.js';

const stage = JSON.stringify(new URL('./drain-stage.js', import.meta.url).href);

/** Runs a scene with everything of test/keeper/drain-stage.js, and gives what it tells. */
function play(scene: string, modules: readonly string[] = []): Promise<unknown> {
  return inside(
    ['socket-calls', 'sock-diag', ...modules],
    `
    const { connect, connectOverHttp2, connectWebSocket, connection, drained, get, listener } = await import(${stage});
    const { ownCopy, post, startCopy } = await import(${stage});
    const { stateAfterQuiet, stateOf, statesOf, until, watch, PORT } = await import(${stage});
    ${scene}`,
  );
}

interface Row {
  readonly situation: string;
  /** `copy` serves, `client` is connected to it, `look()` looks. */
  readonly scene: string;
  readonly state: string;
  /** What makes an end of what is owed. */
  readonly finish?: string;
  /** Default: both. */
  readonly over?: 'http' | 'https';
}

const HELD = `
      copy.tell();
      await client.got(/held$/);`;
/** The upload's other half. */
const UPLOADED = `
      client.send('x'.repeat(50));
      await client.got(/got 100$/);`;

const ROWS: readonly Row[] = [
  { situation: 'kept alive after an answer', scene: `await client.ask('/', /ok$/);`, state: 'idle' },
  { situation: 'preconnected, nothing sent', scene: '', state: 'idle' },
  {
    situation: 'a slow request on a used connection',
    scene: `
      await client.ask('/', /ok$/);
      look();
      client.send(get('/held'));`,
    state: 'owed: unanswered',
    finish: HELD,
  },
  {
    situation: 'a first request right after connecting',
    scene: `client.send(get('/held'));`,
    state: 'owed: never-answered',
    finish: HELD,
    over: 'http',
  },
  {
    situation: 'half a request on a fresh connection',
    scene: `client.send('GET /held HTTP/1.1\\r\\nHo');`,
    state: 'owed: never-answered',
    finish: `
      client.send('st: test\\r\\n\\r\\n');
      await until('the request', () => copy.requests.includes('/held'));
      ${HELD}`,
    over: 'http',
  },
  {
    situation: 'a first request after the handshake has been seen',
    scene: `
      await until('the end of the handshake', () => client.tickets > 0);
      await until('that it has been seen', () => stateOf(watched, client) === 'idle');
      look();
      client.send(get('/held'));`,
    state: 'owed: unanswered',
    finish: HELD,
    over: 'https',
  },
  {
    situation: 'half a request on a used connection',
    scene: `
      await client.ask('/', /ok$/);
      look();
      client.send('GET / HTTP/1.1\\r\\n');`,
    state: 'owed: unanswered',
    finish: `
      client.send('Host: test\\r\\n\\r\\n');
      await client.got(/ok[\\s\\S]*ok$/);`,
  },
  {
    situation: 'an upload that pauses',
    scene: `
      await client.ask('/', /ok$/);
      look();
      client.send(post() + 'x'.repeat(50));`,
    state: 'owed: unanswered',
    finish: UPLOADED,
  },
  {
    situation: 'a stream that pauses',
    scene: `await client.ask('/events', /event\\r?\\n/);`,
    state: 'idle',
  },
  {
    situation: '100-continue that waits for the body',
    scene: `
      client.send(post('Expect: 100-continue'));
      await client.got(/100 Continue/);`,
    state: 'idle',
  },
  {
    situation: '100-continue and half of the body',
    scene: `
      client.send(post('Expect: 100-continue'));
      await client.got(/100 Continue/);
      look();
      client.send('x'.repeat(50));`,
    state: 'owed: unanswered',
    finish: UPLOADED,
  },
  {
    situation: 'a big answer that the client does not read',
    scene: `
      client.socket.pause();
      client.send(get('/big'));
      await until('the request', () => copy.requests.includes('/big'));`,
    state: 'owed: unacknowledged',
    finish: `
      client.socket.resume();
      await until('all of it', () => client.length > 32 << 20);`,
  },
  {
    situation: 'a request by a client that has closed its side',
    scene: `
      await client.ask('/', /ok$/);
      look();
      client.socket.end(get('/held'));`,
    state: 'owed: unanswered',
    finish: HELD,
    over: 'http',
  },
];

for (const row of ROWS) {
  const { over } = row;
  for (const protocol of over === undefined ? (['http', 'https'] as const) : [over]) {
    testRow(protocol, row, 'connect', { secure: protocol === 'https' });
  }
}

const HELD_STREAM = `
      copy.tell();
      await until('the answer', () => held.text === 'held');`;

/** Requests have been answered on each of these connections. */
const HTTP2_ROWS: readonly Row[] = [
  { situation: 'kept alive after an answer', scene: `await client.ask('/', /ok$/);`, state: 'idle' },
  { situation: 'after a ping', scene: `await client.ping();`, state: 'idle' },
  {
    situation: 'after a big answer',
    scene: `
      const big = client.begin('/big');
      await until('all of it', () => big.length === 32 << 20);`,
    state: 'idle',
  },
  {
    situation: 'a stream that pauses',
    scene: `
      await client.ask('/events', /event\\n/);`,
    state: 'idle',
  },
  {
    situation: 'a big answer that the client takes no more of',
    scene: `
      await new Promise((resolve) => client.session.settings({ initialWindowSize: 65_535 }, resolve));
      await client.ping();
      const big = client.begin('/big');
      big.stream.pause();
      await until('the request', () => copy.requests.includes('/big'));`,
    state: 'idle',
    finish: `
      big.stream.resume();
      await until('all of it', () => big.length === 32 << 20);
      await client.ping();`,
  },
  {
    situation: 'a slow request',
    scene: `
      look();
      const held = client.begin('/held');
      await until('the request', () => copy.requests.includes('/held'));`,
    state: 'owed: unanswered',
    finish: HELD_STREAM,
  },
  {
    situation: 'an upload that pauses',
    scene: `
      look();
      const upload = client.begin('/', { ':method': 'POST' }, { endStream: false });
      upload.stream.write('x'.repeat(50));`,
    state: 'owed: unanswered',
    finish: `
      upload.stream.end('x'.repeat(50));
      await until('the answer', () => upload.text === 'got 100');`,
  },
  {
    situation: 'a window that the client widens, which asks for no answer',
    scene: `
      look();
      client.session.setLocalWindowSize(200 << 20);`,
    state: 'owed: unanswered',
    finish: `await client.ping();`,
  },
];

for (const row of HTTP2_ROWS) {
  for (const secure of [false, true]) {
    testRow(secure ? 'http2 over TLS' : 'http2', row, 'connectOverHttp2', { secure, http2: true });
  }
}

const WEBSOCKET_ROWS: readonly Row[] = [
  { situation: 'nothing said yet', scene: '', state: 'idle' },
  {
    situation: 'after an echo',
    scene: `
      await client.say('echo');
      await client.got(/echo$/);`,
    state: 'idle',
  },
  {
    situation: 'after a ping',
    scene: `
      await client.ping('ping');
      await client.got(/ping$/);`,
    state: 'idle',
  },
  {
    situation: 'a message that asks for no answer, until the time is over',
    scene: `
      look();
      await client.say('telemetry');`,
    state: 'owed: unanswered',
    finish: `
      const { drained: isDrained, owed } = await drained(copy, { timeoutMs: 200 });
      if (isDrained || owed !== 1) throw new Error('it is not waited for');
      await client.say('echo');
      await client.got(/echo$/);`,
  },
];

for (const row of WEBSOCKET_ROWS) {
  for (const secure of [false, true]) {
    testRow(secure ? 'WebSocket over TLS' : 'WebSocket', row, 'connectWebSocket', { secure });
  }
}

function testRow(
  protocol: string,
  { situation, scene, state, finish = '' }: Row,
  connect: 'connect' | 'connectOverHttp2' | 'connectWebSocket',
  copy: { readonly secure: boolean; readonly http2?: boolean },
): void {
  testNeeding('netns')(`trap 6: ${protocol}: ${situation}: ${state}`, async () => {
    const told = await play(`
      const copy = await startCopy(${JSON.stringify(copy)});
      const watched = watch(copy);
      const look = () => watched.look({ sure: true });
      const client = await ${connect}(copy);
      ${scene}
      const state = await stateAfterQuiet(watched, copy, client);
      ${finish}
      tell({ state, outcome: await drained(copy) });`);
    expect(told).toMatchObject({ state, outcome: { drained: true, owed: 0 } });
  });
}

testNeeding('netns')(
  'a server without any grace that is killed when it is drained has cut nothing',
  async () => {
    const told = await play(`
    const copy = await startCopy();
    const clients = await Promise.all(Array.from({ length: 20 }, () => connect(copy)));
    for (const client of clients) client.send(get('/held'));
    await until('the requests', () => copy.requests.length === 21);
    const draining = drained(copy).then(() => copy.stop());
    const watched = watch(copy);
    const states = new Set([await stateAfterQuiet(watched, copy, clients[0]), ...statesOf(watched)]);
    copy.tell();
    await draining;
    await until('the end of all connections', () => clients.every(({ socket }) => socket.closed));
    tell({ states: [...states], answers: clients.filter(({ text }) => text.endsWith('held')).length });`);
    expect(told).toEqual({ states: ['owed: never-answered'], answers: 20 });
  },
);

testNeeding('netns')(
  'trap 5.3: connections that nobody has accepted are waited for, whatever is waited for',
  async () => {
    const told = await play(`
    const copy = await startCopy();
    await copy.freeze();
    for (let clients = 0; clients < 3; clients++) await connect();
    const looks = ['queue', 'idle', 'open'].map((wait) => watch(copy, { wait }).look());
    const late = await drained(copy, { wait: 'queue', timeoutMs: 50 });
    copy.thaw();
    const { drained: isDrained } = await drained(copy, { wait: 'queue' });
    tell({ looks, late, isDrained, after: watch(copy).look() });`);
    const look = { isOver: false, waiting: 3, open: 0, owed: 0 };
    expect(told).toEqual({
      looks: [look, look, look],
      late: { drained: false, connections: 3, owed: 3, durationMs: expect.any(Number) },
      isDrained: true,
      after: { isOver: false, waiting: 0, open: 3, owed: 0 },
    });
  },
);

testNeeding('netns')(
  'trap 5.3: connections that were half-open at the begin are waited for, later ones are not',
  async () => {
    const told = await play(`
    const fd = listener();
    const [IPPROTO_TCP, TCP_DEFER_ACCEPT] = [6, 9];
    kernel.setOption(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, Buffer.from([60, 0, 0, 0]));
    const copy = await startCopy({ fd });
    const client = await connect();
    const watched = watch(copy, { wait: 'queue' });
    const looks = [watched.look()];
    await connect();
    looks.push(watched.look());
    await client.ask('/', /ok$/);
    looks.push(watched.look());
    tell(looks.map(({ isOver, waiting }) => ({ isOver, waiting })));`);
    expect(told).toEqual([
      { isOver: false, waiting: 1 },
      { isOver: false, waiting: 1 },
      { isOver: true, waiting: 0 },
    ]);
  },
);

testNeeding('netns')(
  'trap 5.5: while thousands of connections are in TIME_WAIT a look takes a fraction of what reading all sockets takes',
  async () => {
    const told = await play(`
    const { readFileSync } = await import('node:fs');
    const copy = ownCopy();
    for (let count = 0; count < 5_000; count++) {
      // Who closes first keeps TIME_WAIT.
      const { client, child } = connection(copy.listeners()[0]);
      kernel.closeFd(child);
      kernel.closeFd(client);
    }
    const inTimeWait = kernel.tcpSockets(['TIME_WAIT'], PORT).length;
    const msOf = (work) => {
      const beginMs = performance.now();
      work();
      return performance.now() - beginMs;
    };
    const watched = watch(copy, { wait: 'queue' });
    const all = watch(copy);
    // In turn, and the shortest of each: what others do on the machine comes on top.
    const rounds = Array.from({ length: 25 }, () => [
      msOf(() => watched.look()),
      msOf(() => all.look({ sure: true })),
      msOf(() => readFileSync('/proc/self/net/tcp')),
    ]);
    const [lookMs, allMs, readMs] = [0, 1, 2].map((which) => Math.min(...rounds.map((one) => one[which])));
    // Where a port comes again, its former connection has left TIME_WAIT.
    tell({ isFull: inTimeWait > 4_000, isCheap: [lookMs < readMs / 5, allMs < readMs] });`);
    expect(told).toEqual({ isFull: true, isCheap: [true, true] });
  },
);

testNeeding(['netns', 'mptcp'])('the queue of an MPTCP listener is seen by what is in it', async () => {
  const told = await play(
    `
    const [AF_INET, SOCK_STREAM, IPPROTO_MPTCP] = [2, 1, 262];
    const fd = kernel.declare('int socket(int family, int type, int protocol)')(AF_INET, SOCK_STREAM, IPPROTO_MPTCP);
    kernel.bindTo(fd, { family: 'ipv4', host: '127.0.0.1', port: PORT });
    kernel.listenWith(fd, 16);
    const copy = await startCopy({ fd });
    await copy.freeze();
    const client = await connect();
    client.send(get('/held'));
    await connect();
    await until('both in the queue', () => watch(copy).look().waiting === 2);
    const looks = ['queue', 'idle', 'open'].map((wait) => watch(copy, { wait }).look());
    copy.thaw();
    const watched = watch(copy);
    await until('the request', () => copy.requests.includes('/held'));
    const states = await until('both', () => statesOf(watched).length === 2 && statesOf(watched));
    copy.tell();
    await client.got(/held$/);
    tell({ looks, states, outcome: await drained(copy) });`,
    ['libc'],
  );
  const look = { isOver: false, waiting: 2, open: 0, owed: 0 };
  expect(told).toMatchObject({
    looks: [look, look, look],
    states: expect.arrayContaining(['owed: never-answered', 'moving']),
    outcome: { drained: true, connections: 2, owed: 0 },
  });
});

testNeeding('netns')('connections of another copy on the same port do not count', async () => {
  const told = await play(`
    const [copy, other] = [await startCopy(), await startCopy({ host: '127.0.0.2' })];
    const client = await connect(copy);
    await client.ask('/', /ok$/);
    for (let clients = 0; clients < 5; clients++) (await connect(other)).send(get('/held'));
    await until('the requests', () => other.requests.length === 6);
    tell(await Promise.all([drained(copy), drained(other, { timeoutMs: 100 })]));`);
  expect(told).toMatchObject([
    { drained: true, connections: 1, owed: 0 },
    { drained: false, connections: 5, owed: 5 },
  ]);
});

testNeeding('netns')('the processes are looked into only when the answer hangs on it', async () => {
  const told = await play(`
    const [copy, other] = [await startCopy(), await startCopy({ host: '127.0.0.2' })];
    const client = await connect(copy);
    client.send(get('/held'));
    const watched = watch(copy);
    const counts = [];
    for (let looks = 0; looks < 100; looks++) {
      if (looks % 10 === 0) await connect(other);
      if (watched.look().isOver) throw new Error('it is over with a request that is not answered');
    }
    counts.push(copy.looksIntoFds());
    copy.tell();
    await client.got(/held$/);
    await until('quiet', () => watched.look().isOver);
    counts.push(copy.looksIntoFds());
    tell(counts);`);
  expect(told).toEqual([1, 2]);
});

testNeeding('netns')('a connection that came to the copy while others were owed is found', async () => {
  const told = await play(`
    const copy = await startCopy();
    const first = await connect(copy);
    first.send(get('/held'));
    const watched = watch(copy);
    watched.look();
    const second = await connect(copy);
    second.send('GET / HTTP/1.1\\r\\n');
    copy.tell();
    await first.got(/held$/);
    await until('both', () => watched.look().open === 2);
    const state = await stateAfterQuiet(watched, copy, second);
    tell([watched.look().isOver, state, stateOf(watched, first)]);`);
  expect(told).toEqual([false, 'owed: never-answered', 'idle']);
});

testNeeding('netns')('a stream that pauses is waited for with `open` only', async () => {
  const told = await play(`
    const copy = await startCopy();
    const client = await connect(copy);
    await client.ask('/events', /event/);
    const idle = await drained(copy, { wait: 'idle' });
    const late = await drained(copy, { wait: 'open', timeoutMs: 50 });
    const open = drained(copy, { wait: 'open' });
    client.socket.resetAndDestroy();
    tell([idle, late, await open]);`);
  expect(told).toMatchObject([
    { drained: true, connections: 1 },
    { drained: false, connections: 1, owed: 0 },
    { drained: true, connections: 0 },
  ]);
});

testNeeding('netns')(
  'what is owed at the end of the time is told, and an abort ends it at once',
  async () => {
    const told = await play(`
    const copy = await startCopy();
    (await connect(copy)).send(get('/held'));
    await until('the request', () => copy.requests.includes('/held'));
    const outcomes = [await drained(copy, { timeoutMs: 0 }), await drained(copy, { timeoutMs: 60 })];
    const aborted = new AbortController();
    const given = drained(copy, { signal: aborted.signal }).catch(({ name }) => name);
    aborted.abort();
    tell([...outcomes, await given, await drained(copy, { signal: aborted.signal }).catch(({ name }) => name)]);`);
    const outcome = { drained: false, connections: 1, owed: 1, durationMs: expect.any(Number) };
    expect(told).toEqual([outcome, outcome, 'AbortError', 'AbortError']);
  },
);

testNeeding('netns')('a copy without connections, or that has ended, is drained', async () => {
  const told = await play(`
    const copy = await startCopy();
    const outcomes = [];
    for (const wait of ['queue', 'idle', 'open']) outcomes.push(await drained(copy, { wait }));
    const client = await connect(copy);
    client.send(get('/held'));
    const outcome = drained({ ...copy, listeners: () => [] });
    await copy.stop();
    tell([...outcomes, await outcome]);`);
  const drained = { drained: true, connections: 0, owed: 0 };
  expect(told).toMatchObject([drained, drained, drained, drained]);
});

testNeeding('netns')('clients of both families are seen at a dual-stack listener', async () => {
  const told = await play(`
    const copy = await startCopy({ host: '::' });
    const clients = [await connect({ host: '127.0.0.1' }), await connect({ host: '::1' })];
    for (const client of clients) client.send(get('/held'));
    await until('the requests', () => copy.requests.length === 3);
    tell(statesOf(watch(copy)));`);
  expect(told).toEqual(['owed: never-answered', 'owed: never-answered']);
});

testNeeding('netns')(
  'a slow request right after a quick answer is owed when its acknowledgement goes out alone, though no look came between',
  async () => {
    const told = await play(
      `
    const { sendBytes, receiveBytes, closeFd } = kernel;
    const copy = ownCopy();
    const watched = watch(copy, { quietMs: 1000 });
    const request = ({ client, child }) => {
      sendBytes(client, 80);
      receiveBytes(child, 80);
    };
    const answer = ({ client, child }) => {
      sendBytes(child, 200);
      receiveBytes(client, 200);
    };
    // On a busy machine the looks or the exchange itself are too slow, and the order is known otherwise, or never.
    const isInDoubt = () => {
      const ends = connection(copy.listeners()[0]);
      // The kernel puts acknowledgements off once it has seen some prompt answers.
      for (let exchanges = 0; exchanges < 4; exchanges++) (request(ends), answer(ends));
      watched.look();
      const [before] = kernel.tcpConnections([PORT]);
      request(ends);
      answer(ends);
      request(ends);
      const [state] = statesOf(watched);
      const [row] = kernel.tcpConnections([PORT]);
      const isTie = row.lastDataSentMs === row.lastDataReceivedMs;
      if (state === 'moving' && isTie && row.emptySegmentsOut === before.emptySegmentsOut) return true;
      closeFd(ends.client);
      closeFd(ends.child);
      watched.look();
    };
    await until('a case of doubt', isInDoubt);
    await until('no doubt', () => statesOf(watched)[0] !== 'moving');
    tell(statesOf(watched));`,
      ['tcp-connections'],
    );
    expect(told).toEqual(['owed: unanswered']);
  },
);

testNeeding('netns')('a client that has closed its side of an idle connection is owed nothing', async () => {
  const told = await play(`
    const copy = ownCopy();
    const { client } = connection(copy.listeners()[0]);
    kernel.shutdownFor(client, 'write');
    const watched = watch(copy);
    tell(await until('quiet', () => statesOf(watched)[0] === 'idle' && kernel.tcpSockets(['CLOSE_WAIT'], PORT).length));`);
  expect(told).toBe(1);
});

for (const count of [300, 1_500]) {
  testNeeding('netns')(`of ${count} connections each is seen`, async () => {
    const told = await play(`
      const copy = ownCopy();
      const ends = Array.from({ length: ${count} }, () => connection(copy.listeners()[0]));
      const watched = watch(copy);
      const looks = [watched.look()];
      for (const { client } of ends.slice(0, 30)) kernel.sendBytes(client, 1);
      looks.push(watched.look());
      for (const { child } of ends.slice(0, 200)) kernel.closeFd(child);
      looks.push(watched.look());
      tell(looks.map(({ open, owed }) => ({ open, owed })));`);
    expect(told).toEqual([
      { open: count, owed: 0 },
      { open: count, owed: 30 },
      { open: count - 200, owed: 0 },
    ]);
  });
}

testNeeding('netns')(
  'a first request that came with the end of a TLS handshake is protected by `unclearQuietMs` alone',
  async () => {
    const told = await play(
      `
    const { connect: connectSecure } = await import('node:tls');
    const copy = await startCopy({ secure: true });
    const usual = watch(copy);
    const careful = watch(copy, { unclearQuietMs: 60_000 });
    // The server may be late with the handshake, and its last output then be no prompt one.
    const isPrompt = async () => {
      const requests = copy.requests.length;
      const socket = connectSecure({ host: '127.0.0.1', port: PORT, rejectUnauthorized: false });
      socket.write(get('/held'));
      await until('the request', () => copy.requests.length > requests);
      await until('rest', () => statesOf(usual)[0] !== 'moving');
      const [row] = kernel.tcpConnections([PORT]);
      if (Math.abs(row.lastDataReceivedMs - row.lastDataSentMs) <= 50) return true;
      socket.destroy();
      await until('its end', () => statesOf(usual).length === 0);
    };
    await until('a prompt handshake', isPrompt);
    await until('quiet', () => statesOf(careful)[0] === 'moving' && statesOf(usual)[0] !== 'moving');
    tell(statesOf(careful));`,
      ['tcp-connections'],
    );
    expect(told).toEqual(['moving']);
  },
);

testNeeding('netns')(
  'of several requests at a time on one connection one answer counts for all',
  async () => {
    const told = await play(`
    const http2 = await import('node:http2');
    const copy = ownCopy();
    const held = [];
    const server = http2.createServer((request, response) => {
      if (request.url === '/held') held.push(response);
      else response.end('ok');
    });
    server.listen({ fd: copy.listeners()[0] });
    const client = http2.connect('http://127.0.0.1:' + PORT);
    const watched = watch(copy);
    client.request({ ':path': '/held' }).resume();
    await until('the request', () => held.length === 1 && statesOf(watched).length === 1);
    const other = client.request({ ':path': '/' }).resume();
    await new Promise((resolve) => other.once('end', resolve));
    tell(await until('quiet', () => statesOf(watched)[0] === 'idle'));`);
    expect(told).toBe(true);
  },
);
