// A server that is closed by holdfast's library at SIGTERM, and tells the result as a line `closed {...}`.
// Usage: node closing.js http|https|http2|http2-secure|net|tls [JSON]
//   delayMs     what an answer takes. Default 5
//   counted     the server is known to holdfast from its start on. Default true
//   peerCloses  options of peerCloses(server), called at once
//   close       options of closeGracefully
//   host, fd    where it listens. Default 127.0.0.1
// Paths: /slow answers after a second, /never does not, /big 20 MB, /echo what was sent, /upgrade echoes.
// The line protocols of net and tls: `WAITms TEXT` is answered by TEXT after so long.

import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';

const [kind, json = '{}'] = process.argv.slice(2);
const { delayMs = 5, counted = true, close = {}, host = '127.0.0.1', fd, ...rest } = JSON.parse(json);
const { closeGracefully, countClosings, peerCloses } = await import(
  new URL('../../dist/index.js', import.meta.url).href
);
const pem = readFileSync(new URL('localhost.pem', import.meta.url)); // a key for tests: everybody knows it
const secrets = { key: pem, cert: pem };
const BIG = 20_000_000;

async function answer(request, response) {
  if (request.url === '/never') {
    console.log('never');
    return;
  }
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  await sleep(request.url === '/slow' ? 1_000 : delayMs);
  if (request.url === '/big') response.end(Buffer.alloc(BIG, 'big response '));
  else if (request.url === '/echo') response.end(Buffer.concat(chunks));
  else response.end('answer\n');
}

function speak(socket) {
  socket.on('error', () => undefined);
  createInterface({ input: socket }).on('line', async (line) => {
    const [, waitMs, text] = /^(\d+) (.*)$/.exec(line) ?? [];
    await sleep(Number(waitMs));
    socket.write(`${text}\n`);
  });
}

function upgrade(_, socket) {
  socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: lines\r\n\r\n');
  speak(socket);
}

const make = {
  net: async () => (await import('node:net')).createServer(speak),
  tls: async () => (await import('node:tls')).createServer(secrets, speak),
  http: async () => (await import('node:http')).createServer(answer).on('upgrade', upgrade),
  https: async () => (await import('node:https')).createServer(secrets, answer).on('upgrade', upgrade),
  http2: async () => (await import('node:http2')).createServer(answer),
  'http2-secure': async () =>
    (await import('node:http2')).createSecureServer({ ...secrets, allowHTTP1: true }, answer),
};

const server = await make[kind]();
const closings = counted ? countClosings(server) : undefined;
if (rest.peerCloses) peerCloses(server, rest.peerCloses);
server.on('connection', () => console.log('accepted'));
server.listen(fd === undefined ? { host, port: 0 } : { fd });
await once(server, 'listening');
console.log(`listens ${server.address().port}`);
process.on('SIGUSR2', async () => console.log(`counts ${JSON.stringify(await told())}`));
await once(process, 'SIGTERM');
const result = await closeGracefully(server, close);
console.log(`closed ${JSON.stringify({ ...result, counts: await told() })}`);
process.exit();

async function told() {
  if (closings === undefined) return undefined;
  const { open, peerFirst, weFirst, reset } = closings;
  return { open, peerFirst, weFirst, reset, timeWait: await closings.timeWait() };
}
