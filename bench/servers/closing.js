// A server that answers after some milliseconds, and is stopped at SIGTERM in one of several ways. It tells `stopped MS`.
// Usage: node closing.js WAY DELAYms FOLDER-of-packages

import { once } from 'node:events';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { join } from 'node:path';

const [way, delayMs, folder] = process.argv.slice(2);
const packages = createRequire(join(folder, 'package.json'));
const holdfast = await import(new URL('../../dist/index.js', import.meta.url).href);
const server = createServer((_, response) => {
  if (delayMs === '0') response.end('answer\n');
  else setTimeout(() => response.end('answer\n'), Number(delayMs));
});

const closed = () => new Promise((resolve) => server.close(resolve));
// Each is prepared at the start, as its page says.
const prepare = {
  close: () => () => {
    const over = closed();
    server.closeIdleConnections();
    return over;
  },
  'http-terminator': () => {
    const { terminate } = packages('http-terminator').createHttpTerminator({ server });
    return terminate;
  },
  stoppable: () => {
    packages('stoppable')(server, 5_000);
    return () => new Promise((resolve) => server.stop(resolve));
  },
  'http-graceful-shutdown': () =>
    packages('http-graceful-shutdown')(server, { forceExit: false, signals: '' }),
  holdfast: () => () => holdfast.closeGracefully(server),
  peerCloses: () => {
    holdfast.peerCloses(server);
    return closed;
  },
};

const stop = prepare[way]();
server.listen(0, '127.0.0.1');
await once(server, 'listening');
console.log(`listens ${server.address().port}`);
await once(process, 'SIGTERM');
const sinceMs = performance.now();
await stop();
console.log(`stopped ${performance.now() - sinceMs}`);
process.exit();
