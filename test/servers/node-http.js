// An HTTP server of Node: answers every request with its pid. It has no graceful shutdown unless asked for.
// Usage: node node-http.js PORT [--host HOST] [--delay MS] [--boot MS] [--graceful]
//   --host   default `::`, which is both IPv6 and IPv4
//   --delay  how long each answer takes; a request's own ?delay=MS wins
//   --boot   how long it works before it binds: a busy loop, as loading a big program is
// Without PORT the environment's PORT counts.

import { createServer } from 'node:http';
import { parseArgs } from 'node:util';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    host: { type: 'string', default: '::' },
    delay: { type: 'string', default: '0' },
    boot: { type: 'string', default: '0' },
    graceful: { type: 'boolean', default: false },
  },
});
const port = Number(positionals[0] ?? process.env.PORT);
const delayMs = Number(values.delay);

const booted = performance.now() + Number(values.boot);
while (performance.now() < booted);

const server = createServer((request, response) => {
  const own = new URL(request.url, 'http://server').searchParams.get('delay');
  const answer = () => response.end(`pid ${process.pid}\n`);
  request.resume();
  const waitMs = own === null ? delayMs : Number(own);
  if (waitMs > 0) setTimeout(answer, waitMs);
  else answer();
});

server.listen(port, values.host, () =>
  console.log(`listening on ${server.address().port} pid ${process.pid}`),
);

if (values.graceful) {
  process.once('SIGTERM', () => {
    server.close();
    server.closeIdleConnections();
  });
}
