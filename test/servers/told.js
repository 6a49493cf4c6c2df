// An HTTP server of Node without any graceful shutdown, on a listening socket that it inherits. It tells its parent by
// message of each request that it begins with, and goes on with what waits when it gets a message.
// Usage: node told.js FD [--tls] [--http2]
//   GET /        answers `ok`
//   GET /held    answers `held` at the next message
//   GET /events  answers with an event, and another one at each message
//   GET /big     answers with 32 MB
//   POST /       answers with the length of the body when all of it is there
//   Upgrade      to a WebSocket, which tells of each message, sends `echo` back, and answers a ping

import { createServer } from 'node:http';
import * as http2 from 'node:http2';
import { createServer as createSecureServer } from 'node:https';
import { selfSigned } from './self-signed.js';

const [fd, ...options] = process.argv.slice(2);
const isSecure = options.includes('--tls');
const isHttp2 = options.includes('--http2');
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

// Each write of the tests is one small frame, and arrives in one piece. RFC 6455, 5.2
const upgraded = (_request, socket) => {
  socket.write('HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n');
  socket.on('data', (frame) => {
    const [opcode, mask] = [frame[0] & 0x0f, frame.subarray(2, 6)];
    const payload = frame.subarray(6).map((byte, i) => byte ^ mask[i % 4]);
    const isPing = opcode === 9;
    const text = payload.toString();
    if (isPing || text === 'echo')
      socket.write(Buffer.from([isPing ? 0x8a : 0x81, payload.length, ...payload]));
    process.send(text);
  });
};

function create() {
  if (isHttp2) return isSecure ? http2.createSecureServer(selfSigned(), serve) : http2.createServer(serve);
  return isSecure ? createSecureServer(selfSigned(), serve) : createServer(serve);
}

const server = create().on('upgrade', upgraded);
// Connections end when a test ends them, and not when it ends its half of them.
server.keepAliveTimeout = 0;
server.httpAllowHalfOpen = true;
server.listen({ fd: Number(fd) }, () => process.send('listening'));
