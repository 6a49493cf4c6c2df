// A server of one of Node's kinds. It answers every request with its pid, and tells on stdout of what it holds back.
// Usage: node node-kinds.js http|https|http2|http2-secure|express|fastify|net
// It listens on the fd in FD, or else at 127.0.0.1:PORT. Paths:
//   /now         answers without reading the body first
//   /held        answers at SIGUSR2
//   /begun       sends the first line now, the second one at SIGUSR2
//   /big         20 MB
//   /persistent  says `Connection: keep-alive` itself
//   /early       answers before it has read the body
// A client that asks to upgrade, and every client of net, gets back what it sends.

import { once } from 'node:events';
import { readFileSync } from 'node:fs';

const [kind] = process.argv.slice(2);
const BIG = 20_000_000;
const pem = () => {
  const both = readFileSync(new URL('localhost.pem', import.meta.url)); // a key for tests: everybody knows it
  return { key: both, cert: both };
};

async function answer(request, response) {
  const path = request.url;
  if (path === '/early') {
    response.writeHead(413).end();
    return;
  }
  if (path === '/now') {
    response.end(`pid ${process.pid}\n`);
    return;
  }
  let received = 0;
  for await (const chunk of request) received += chunk.length;
  if (path === '/held') await released(path);
  if (path === '/persistent') response.writeHead(200, { Connection: 'keep-alive' });
  if (path === '/begun') {
    response.write('begun\n');
    await released(path);
  }
  if (path === '/big') response.end(Buffer.alloc(BIG, 'x'));
  else response.end(`pid ${process.pid} received ${received}\n`);
}

async function released(path) {
  console.log(`holds ${path}`);
  await once(process, 'SIGUSR2');
}

const echo = (socket) => {
  socket.on('error', () => undefined);
  socket.pipe(socket);
};
const upgrade = (_, socket) => {
  socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n');
  echo(socket);
};

const make = {
  net: async () => (await import('node:net')).createServer(echo),
  http: async () => (await import('node:http')).createServer(answer).on('upgrade', upgrade),
  https: async () => (await import('node:https')).createServer(pem(), answer).on('upgrade', upgrade),
  http2: async () => (await import('node:http2')).createServer(answer),
  'http2-secure': async () =>
    (await import('node:http2')).createSecureServer({ ...pem(), allowHTTP1: true }, answer),
  express: async () => {
    const { default: express } = await import('express');
    const app = express();
    app.use((_, response, next) => {
      response.set('X-Middleware', 'yes');
      next();
    });
    app.get('/held', async (_, response) => {
      await released('/held');
      response.send(`pid ${process.pid}\n`);
    });
    app.get('/{*any}', (_, response) => void response.send(`pid ${process.pid}\n`));
    return app;
  },
  fastify: async () => {
    const { default: fastify } = await import('fastify');
    const app = fastify();
    app.get('/held', async () => {
      await released('/held');
      return `pid ${process.pid}\n`;
    });
    app.get('/*', async () => `pid ${process.pid}\n`);
    return { listen: async (at, done) => done(await app.listen(at)) };
  },
};

const server = await make[kind]();
// fastify takes no fd.
const at = process.env.FD
  ? { fd: Number(process.env.FD) }
  : { port: Number(process.env.PORT), host: '127.0.0.1' };
server.listen(at, () => console.log('listens'));
