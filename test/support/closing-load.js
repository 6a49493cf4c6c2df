// Clients of a server that is being closed, each with one request at a time. It tells `loads` when the first request has been answered, and at the end, as a line of
// JSON, how many requests were answered completely, and why the others were not. A refused connection ends a client: the
// server is gone. A connection that the server had closed before the request began is no request that is lost.
// Usage: node closing-load.js [JSON]: port, host, kind (http, https, http2, http2-secure, tcp), clients, requests (in all; none: until
// refused), keepAlive, successor (a refused connection is a fault, and SIGTERM ends it)

import { once } from 'node:events';
import http from 'node:http';
import http2 from 'node:http2';
import https from 'node:https';
import net from 'node:net';

const settings = JSON.parse(process.argv[2] ?? '{}');
const {
  port,
  host = '127.0.0.1',
  kind = 'http',
  clients = 50,
  requests,
  keepAlive = true,
  successor,
} = settings;
const isSecure = kind === 'https' || kind === 'http2-secure';
const result = { answered: 0, refused: 0, lost: {}, perSecond: 0, longestMs: 0 };
const { NGHTTP2_REFUSED_STREAM: REFUSED } = http2.constants;
let begun = 0;
let isStopped = false;
process.on('SIGTERM', () => {
  isStopped = true;
});

/** Gives whether the server is there still. */
async function ask(client) {
  const askedAtMs = performance.now();
  try {
    await client.request();
    result.longestMs = Math.max(result.longestMs, performance.now() - askedAtMs);
    if (result.answered++ === 0) console.log('loads');
  } catch (error) {
    if (error.code === 'ECONNREFUSED' && !successor) {
      result.refused++;
      return false;
    }
    result.lost[error.code ?? error.message] = (result.lost[error.code ?? error.message] ?? 0) + 1;
  }
  return true;
}

function httpClient() {
  const { get, Agent } = isSecure ? https : http;
  const agent = new Agent({ keepAlive, maxSockets: keepAlive ? 1 : Infinity, rejectUnauthorized: false });
  const headers = keepAlive ? {} : { Connection: 'close' };
  return {
    request: () =>
      new Promise((resolve, reject) => {
        const request = get({ host, port, agent, headers }, (response) => {
          let body = '';
          response.on('data', (chunk) => {
            body += chunk;
          });
          response.on('end', () => (body === 'answer\n' ? resolve() : reject(new Error('incomplete'))));
          response.on('error', reject);
        });
        request.on('error', reject);
      }),
    close: () => agent.destroy(),
  };
}

function http2Client() {
  let session;
  const open = () => {
    session = http2.connect(`${isSecure ? 'https' : 'http'}://${host}:${port}`, {
      rejectUnauthorized: false,
    });
    session.on('goaway', () => {
      session = undefined;
    });
    const failed = new Promise((_, reject) => session.once('error', reject));
    failed.catch(() => undefined);
    return { session, failed };
  };
  let current;
  const request = async () => {
    if (session === undefined || session.closed || session.destroyed) current = open();
    const stream = current.session.request();
    let body = '';
    stream.on('data', (chunk) => {
      body += chunk;
    });
    let failure;
    stream.on('error', (error) => {
      failure = error;
    });
    await Promise.race([new Promise((resolve) => stream.once('close', resolve)), current.failed]);
    if (body === 'answer\n') return;
    if (stream.rstCode !== REFUSED)
      throw failure?.cause ?? failure ?? new Error(`incomplete, ${stream.rstCode}`);
    await request(); // RFC 9113, 8.7: it has not been processed, and may be sent again
  };
  return { request, close: () => session?.close() };
}

function tcpClient() {
  let socket;
  let received = '';
  return {
    request: async () => {
      if (socket === undefined || socket.destroyed || socket.readableEnded || socket.writableEnded) {
        socket = net.connect({ port, host });
        await once(socket, 'connect');
        socket.on('data', (data) => {
          received += data;
        });
        socket.on('error', () => undefined);
      }
      received = '';
      socket.write('5 answer\n');
      while (received !== 'answer\n') {
        await Promise.race([once(socket, 'data'), once(socket, 'close')]);
        if (received !== 'answer\n' && socket.destroyed) throw new Error('incomplete');
      }
      if (!keepAlive) socket.end();
    },
    close: () => socket?.end(),
  };
}

const make = {
  http: httpClient,
  https: httpClient,
  http2: http2Client,
  'http2-secure': http2Client,
  tcp: tcpClient,
};
const all = Array.from({ length: clients }, () => make[kind]());
const sinceMs = performance.now();
await Promise.all(
  all.map(async (client) => {
    while (!isStopped && (requests === undefined || begun++ < requests)) {
      if (!(await ask(client))) return;
    }
  }),
);
result.perSecond = result.answered / ((performance.now() - sinceMs) / 1_000);
console.log(`load ${JSON.stringify(result)}`);
// Connections that are kept stay until then.
if (requests !== undefined && !isStopped) {
  const kept = setInterval(() => undefined, 1_000);
  await once(process, 'SIGTERM');
  clearInterval(kept);
}
for (const client of all) client.close();
