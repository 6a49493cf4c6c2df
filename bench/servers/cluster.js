// Node's cluster module as its documentation shows it: a primary with one worker, which is forked again when it ends.
// Usage: node cluster.js PORT [options of http.js]

import cluster from 'node:cluster';
import { fileURLToPath } from 'node:url';

cluster.setupPrimary({
  exec: fileURLToPath(new URL('http.js', import.meta.url)),
  args: process.argv.slice(2),
});
cluster.on('exit', () => cluster.fork());
cluster.fork();
