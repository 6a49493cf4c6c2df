import { once } from 'node:events';
import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  connect,
  constants,
  type IncomingHttpHeaders,
} from 'node:http2';
import { expect, onTestFinished, test } from 'vitest';
import { testNeeding } from '../support/needing.js';
import { tcpSockets } from '../support/proc.js';
import { until } from '../support/wait.js';
import { openStage, startLoad, startServer, timeWaits } from './closing-stage.js';
import { heldSocket } from './held-socket.js';
import { askToLeave, type Program, serve } from './program.js';

const SIGTERM = { code: null, signal: 'SIGTERM' };

type Kind = 'http2' | 'http2-secure';

for (const node of [undefined, 'node22', 'node24'] as const) {
  for (const kind of ['http2', 'http2-secure'] as const) {
    const testThat = (title: string, run: () => Promise<void>): void =>
      testNeeding(node ?? [])(`${node ?? 'node'}, ${kind}: ${title}`, run);

    testThat('an idle session goes when it has been quiet, and not before', async () => {
      const program = await serve(kind, { node, env: { HOLDFAST_GRACEFUL_QUIET_MS: '500' } });
      const session = await sessionTo(program, kind);
      expect((await answerOf(session.request())).body).toContain(`pid ${program.started.pid}`);
      const told = goneAway(session);
      const askedAtMs = await askToLeave(program);
      const { last, atMs } = await told;
      expect(new Set(last)).toEqual(new Set([1])); // the stream that has been served
      expect(atMs - askedAtMs).toBeGreaterThanOrEqual(500);
      expect(await program.started.end()).toEqual(SIGTERM);
    });

    testThat('the next request is served, and the client is told to go', async () => {
      const program = await serve(kind, { node });
      const session = await sessionTo(program, kind);
      await answerOf(session.request());
      await askToLeave(program);
      const told = goneAway(session);
      expect(await answerOf(session.request())).toMatchObject({ status: 200 });
      expect((await told).last.length).toBeGreaterThan(0);
      expect(await program.started.end()).toEqual(SIGTERM);
    });

    testThat('streams that are open are finished', async () => {
      const program = await serve(kind, { node, env: { HOLDFAST_GRACEFUL_QUIET_MS: '100' } });
      const session = await sessionTo(program, kind);
      const answers = ['/held', '/begun'].map((path) => answerOf(session.request({ ':path': path })));
      for (const after of [0, 1]) await program.started.line(/^holds/, { after });
      const told = once(session, 'goaway');
      await askToLeave(program);
      await told;
      program.started.kill('SIGUSR2');
      const [held, begun] = await Promise.all(answers);
      expect(held).toMatchObject({ status: 200, body: `pid ${program.started.pid} received 0\n` });
      expect(begun?.body).toContain('begun\npid');
      expect(await program.started.end()).toEqual(SIGTERM);
    });

    testThat('streams that are on their way together are served', async () => {
      const program = await serve(kind, { node, env: { HOLDFAST_GRACEFUL_QUIET_MS: '300' } });
      const session = await sessionTo(program, kind);
      await answerOf(session.request());
      program.started.kill('SIGSTOP');
      program.started.kill('SIGTERM');
      const streams = Array.from({ length: 20 }, () => session.request());
      await until('the requests have been sent', () => queuedAt(program) > 0);
      program.started.kill('SIGCONT');
      const answers = await Promise.all(streams.map(answerOf));
      expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([200]));
      expect(await program.started.end()).toEqual(SIGTERM);
    });

    testThat('a client that waits to be accepted is served', async () => {
      const program = await serve(kind, { node, env: { HOLDFAST_GRACEFUL_QUIET_MS: '300' } });
      program.started.kill('SIGSTOP');
      const stream = openSession(program, kind).request();
      await until('it waits', () => queuedAt(program) > 0);
      program.started.kill('SIGTERM');
      program.started.kill('SIGCONT');
      expect(await answerOf(stream)).toMatchObject({ status: 200 });
      expect(await program.started.end()).toEqual(SIGTERM);
    });
  }
}

for (const kind of ['http2', 'http2-secure'] as const) {
  testNeeding('netns')(
    `${kind}: 50 sessions that are idle are told to go, close first, and leave no TIME_WAIT at the server`,
    async () => {
      const netns = await openStage();
      const server = await startServer(netns, kind, { delayMs: 0, close: { peerFirstMs: 10_000 } });
      const load = await startLoad(netns, { port: server.port, kind, requests: 50 });
      expect(await load.result()).toMatchObject({ answered: 50, lost: {} });
      const { ms, ...ends } = await server.close();
      expect(ends).toMatchObject({ peerFirst: 50, weFirst: 0, reset: 0, cut: 0 });
      // Until then a request might have been on its way.
      expect(ms).toBeGreaterThanOrEqual(200);
      expect(ms).toBeLessThan(10_000);
      expect((await timeWaits(netns, server.port)).server).toBe(0);
      load.started.kill('SIGTERM');
    },
  );
}

test('a stream that is not answered at the timeout is cut off', async () => {
  const program = await serve('http2', { env: { HOLDFAST_GRACEFUL_TIMEOUT_MS: '500' } });
  const session = await sessionTo(program, 'http2');
  session.request({ ':path': '/held' }).on('error', () => undefined);
  await program.started.line(/^holds/);
  program.started.kill('SIGTERM');
  expect(await program.started.end()).toEqual(SIGTERM);
});

test('no stream fails in 5 hand-overs, of clients that use one at a time', async () => {
  const { fd, port } = heldSocket();
  let served = await serve('http2', { fd });
  let isStopped = false;
  let answers = 0;
  const bodies = new Set<string>();
  const keepAsking = async (): Promise<void> => {
    let session: ClientHttp2Session | undefined;
    while (!isStopped) {
      if (session === undefined || session.closed) session = openSession({ port }, 'http2');
      bodies.add((await answerOf(session.request({ ':path': '/now' }))).body);
      answers++;
    }
  };
  const clients = Promise.all(Array.from({ length: 8 }, keepAsking));
  for (let i = 0; i < 5; i++) {
    const next = await serve('http2', { fd });
    const before = answers;
    await Promise.race([until('a hundred answers', () => answers > before + 100), clients]);
    served.started.kill('SIGTERM');
    expect(await served.started.end()).toEqual(SIGTERM);
    served = next;
  }
  isStopped = true;
  await clients;
  expect(bodies.size).toBeGreaterThan(1);
});

async function sessionTo(program: Program, kind: Kind): Promise<ClientHttp2Session> {
  const session = openSession(program, kind);
  await once(session, 'remoteSettings');
  return session;
}

function openSession({ port }: { readonly port: number }, kind: Kind): ClientHttp2Session {
  const scheme = kind === 'http2' ? 'http' : 'https';
  const session = connect(`${scheme}://127.0.0.1:${port}`, { rejectUnauthorized: false });
  session.on('error', () => undefined);
  onTestFinished(() => session.destroy());
  return session;
}

/** The last streams that the GOAWAYs name until the session is closed, and when the first of them came. */
async function goneAway(session: ClientHttp2Session): Promise<{ last: readonly number[]; atMs: number }> {
  const last: number[] = [];
  let atMs = Number.NaN;
  session.on('goaway', (code, lastStream) => {
    expect(code).toBe(constants.NGHTTP2_NO_ERROR);
    if (last.length === 0) atMs = performance.now();
    last.push(lastStream);
  });
  await once(session, 'close');
  return { last, atMs };
}

/** @throws the stream's error */
async function answerOf(stream: ClientHttp2Stream): Promise<{ status: number | undefined; body: string }> {
  let body = '';
  stream.setEncoding('utf8').on('data', (text: string) => {
    body += text;
  });
  const ended = once(stream, 'end');
  const [headers] = (await once(stream, 'response')) as [IncomingHttpHeaders & { ':status'?: number }];
  await ended;
  return { status: headers[':status'], body };
}

/** What waits at the program's sockets: bytes that it has not read, connections that it has not accepted. */
function queuedAt({ port }: Program): number {
  return tcpSockets()
    .filter((socket) => socket.port === port)
    .reduce((sum, { receiveQueue }) => sum + receiveQueue, 0);
}
