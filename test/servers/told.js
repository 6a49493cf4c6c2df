// An HTTP server of Node without any graceful shutdown, on a listening socket that it inherits. It tells its parent by
// message of each request that it begins with, and goes on with what waits when it gets a message.
// Usage: node told.js FD [--tls]
//   GET /        answers `ok`
//   GET /held    answers `held` at the next message
//   GET /events  answers with an event, and another one at each message
//   GET /big     answers with 32 MB
//   POST /       answers with the length of the body when all of it is there

import { createServer } from 'node:http';
import { createServer as createSecureServer } from 'node:https';
import { selfSigned } from './self-signed.js';

const [fd, tls] = process.argv.slice(2);
const held = new Set();
const streams = new Set();

const routes = {
  '/': (request, response) => {
    let length = 0;
    request.on('data', (bytes) => {
      length += bytes.length;
    });
    request.on('end', () => response.end(request.method === 'POST' ? `got ${length}` : 'ok'));
  },
  '/held': (_request, response) => held.add(response),
  '/events': (_request, response) => {
    streams.add(response);
    response.write('event\n');
  },
  '/big': (_request, response) => response.end(Buffer.alloc(32 << 20)),
};

const serve = (request, response) => {
  routes[request.url](request, response);
  process.send(request.url);
};

process.on('message', () => {
  for (const response of held) response.end('held');
  held.clear();
  for (const response of streams) response.write('event\n');
});

const server = tls === '--tls' ? createSecureServer(selfSigned(), serve) : createServer(serve);
// Connections end when a test ends them, and not when it ends its half of them.
server.keepAliveTimeout = 0;
server.httpAllowHalfOpen = true;
server.listen({ fd: Number(fd) }, () => process.send('listening'));
