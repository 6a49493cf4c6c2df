// Leaves so many connections of one port in TIME_WAIT at the server's side and ends:
//   node time-waits.js PORT COUNT
// Runs in a network namespace of its own, whose ports from 10000 on it uses up as clients.

import { pinThread } from '../../dist/kernel/affinity.js';
import {
  acceptNow,
  bindTo,
  closeFd,
  connectTo,
  listenWith,
  openSocket,
  setOption,
} from '../../dist/kernel/socket-calls.js';

const [port, count] = process.argv.slice(2).map(Number);
const CLIENT_PORTS = 50_000;
const FIRST_CLIENT_PORT = 10_000;
const on = Buffer.from([1, 0, 0, 0]);

/** On one CPU what is sent over loopback has arrived when the call is over. */
pinThread(0);

const listener = must(openSocket('tcp', 'ipv4'));
must(setOption(listener, 1, 2, on)); // SO_REUSEADDR
must(bindTo(listener, { family: 'ipv4', host: '0.0.0.0', port }));
must(listenWith(listener, 8));
for (let index = 0; index < count; index++) {
  const client = must(openSocket('tcp', 'ipv4'));
  must(setOption(client, 1, 2, on));
  const from = FIRST_CLIENT_PORT + (index % CLIENT_PORTS);
  must(bindTo(client, { family: 'ipv4', host: '127.0.0.1', port: from }));
  const to = `127.0.0.${2 + Math.floor(index / CLIENT_PORTS)}`;
  must(connectTo(client, { family: 'ipv4', host: to, port }));
  // Who closes first keeps TIME_WAIT.
  must(closeFd(must(acceptNow(listener))));
  must(closeFd(client));
}
must(closeFd(listener));

/** @param {number} result */
function must(result) {
  if (result < 0) throw new Error(`errno ${-result}`);
  return result;
}
