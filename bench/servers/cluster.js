// Node's cluster module as its documentation shows it: a primary with workers, each forked again when it ends.
// NODE_CLUSTER_SCHED_POLICY=none lets the workers accept by themselves; otherwise the primary does, round robin.
// Usage: node cluster.js WORKERS PORT [options of http.js]

import cluster from 'node:cluster';
import { fileURLToPath } from 'node:url';

const [workers, ...args] = process.argv.slice(2);

cluster.setupPrimary({ exec: fileURLToPath(new URL('http.js', import.meta.url)), args });
cluster.on('exit', () => cluster.fork());
for (let i = 0; i < Number(workers); i++) cluster.fork();
