// The HTTP server of the benches: answers every request with its pid. The same file serves bare and under every
// keeper; only the way it gets its socket differs.
// Usage: node http.js PORT [--delay MS] [--boot MS] [--graceful] [--fd N]
//   --delay     work per request that is waiting: a timer
//   --boot      how long it works before it binds: a busy loop, as loading a big program is
//   --graceful  at SIGTERM, and at SIGINT, which pm2 sends, it takes no more connections and ends after the last one
//   --fd        listens on this inherited fd, as a server that knows LISTEN_FDS does
// With SERVER_STARTER_PORT (`host:port=fd`) in the environment it listens on that fd.

import { createServer } from 'node:http';
import { parseArgs } from 'node:util';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    delay: { type: 'string', default: '0' },
    boot: { type: 'string', default: '0' },
    graceful: { type: 'boolean', default: false },
    fd: { type: 'string' },
  },
});
const delayMs = Number(values.delay);
const body = `pid ${process.pid}\n`;

const booted = performance.now() + Number(values.boot);
while (performance.now() < booted);

const server = createServer((_, response) => {
  if (delayMs > 0) setTimeout(() => response.end(body), delayMs);
  else response.end(body);
});

const fd = values.fd ?? /=(\d+)$/.exec(process.env.SERVER_STARTER_PORT ?? '')?.[1];
server.listen(fd === undefined ? { port: Number(positionals[0]), host: '127.0.0.1' } : { fd: Number(fd) });

if (values.graceful) {
  // A worker of a cluster has a channel open and does not end by itself.
  const close = () => server.close(() => process.exit());
  process.once('SIGTERM', close);
  process.once('SIGINT', close);
}
