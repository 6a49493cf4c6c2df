// What scenes of the passive drain are made of: copies of a server, raw clients, and looks. Plain JavaScript, since a
// scene runs in a process of its own, in a network namespace of its own.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { connect as connectHttp2 } from 'node:http2';
import { connect as connectPlain } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { connect as connectSecure } from 'node:tls';
import { fileURLToPath } from 'node:url';
import { drain } from '../../dist/keeper/drain.js';
import { DrainWatch } from '../../dist/keeper/drain-watch.js';
import { openFiles, processStat, socketInodeOf } from '../../dist/kernel/procfs.js';
import { tcpSockets } from '../../dist/kernel/sock-diag.js';
import {
  acceptNow,
  bindTo,
  closeFd,
  connectTo,
  listenWith,
  openSocket,
} from '../../dist/kernel/socket-calls.js';

export const PORT = 7000;
export const QUIET_MS = 50;
const CONNECTED = ['ESTABLISHED', 'FIN_WAIT1', 'FIN_WAIT2', 'CLOSE_WAIT', 'LAST_ACK', 'CLOSING'];

/** A listening socket of this process. */
export function listener({ host = '127.0.0.1', port = PORT } = {}) {
  const fd = openSocket('tcp', host.includes(':') ? 'ipv6' : 'ipv4');
  if (bindTo(fd, addressAt(host, port)) < 0) throw new Error(`no bind to ${host} ${port}`);
  if (listenWith(fd, 128) < 0) throw new Error(`no listen on ${host} ${port}`);
  return fd;
}

export function addressAt(host, port = PORT) {
  return { family: host.includes(':') ? 'ipv6' : 'ipv4', host, port };
}

/** Starts a copy of test/servers/told.js on a listening socket of this process. */
export async function startCopy({
  secure = false,
  http2 = false,
  host = '127.0.0.1',
  fd = listener({ host }),
} = {}) {
  const program = fileURLToPath(new URL('../servers/told.js', import.meta.url));
  const options = [...(secure ? ['--tls'] : []), ...(http2 ? ['--http2'] : [])];
  const child = spawn(process.execPath, [program, '4', ...options], {
    stdio: ['ignore', 'ignore', 'inherit', 'ipc', fd],
  });
  const requests = [];
  let looksIntoFds = 0;
  child.on('message', (url) => requests.push(url));
  await until('the copy listens', () => requests.length === 1);
  return {
    secure,
    http2,
    host,
    requests,
    pid: child.pid,
    listeners: () => [fd],
    ports: [PORT],
    inodes: () => {
      looksIntoFds++;
      return socketsOf(child.pid);
    },
    looksIntoFds: () => looksIntoFds,
    /** It goes on with what waits. */
    tell: () => child.send('go on'),
    freeze: async () => {
      child.kill('SIGSTOP');
      await until('the copy stands still', () => processStat(child.pid).state === 'T');
    },
    thaw: () => child.kill('SIGCONT'),
    /** As a server without any grace ends. */
    stop: async () => {
      child.kill('SIGKILL');
      await once(child, 'exit');
      closeFd(fd);
    },
  };
}

export function socketsOf(pid) {
  return new Set(openFiles(pid).map(({ target }) => socketInodeOf(target)));
}

export function watch(copy, options) {
  return new DrainWatch({ ...optionsFor(copy), ...options });
}

export function drained(copy, options) {
  return drain({ ...optionsFor(copy), ...options });
}

function optionsFor({ listeners, ports, inodes }) {
  return { listeners, ports, inodes, wait: 'idle', quietMs: QUIET_MS };
}

/** A client that sends what it is told to, and keeps what it gets. */
export async function connect({ secure = false, http2 = false, host = '127.0.0.1' } = {}) {
  const socket = secure
    ? connectSecure({
        host,
        port: PORT,
        rejectUnauthorized: false,
        ALPNProtocols: [http2 ? 'h2' : 'http/1.1'],
      })
    : connectPlain({ host, port: PORT, noDelay: true });
  const client = {
    socket,
    /** The begin of what it has got, and the length of all of it. */
    text: '',
    length: 0,
    /** How many tickets it has: with the first the server's part in the handshake has ended. */
    tickets: 0,
    send: (text) => socket.write(text),
    got: (pattern) => until(`${pattern}`, () => pattern.test(client.text)),
    /** Sends a request and waits for its answer. */
    ask: async (url, pattern) => {
      socket.write(get(url));
      await client.got(pattern);
    },
  };
  socket.on('data', (bytes) => {
    client.length += bytes.length;
    if (client.text.length < 10_000) client.text += bytes.toString('latin1');
  });
  socket.on('session', () => {
    client.tickets++;
  });
  // A server that is killed ends its connections so or so.
  socket.on('error', () => undefined);
  await once(socket, secure ? 'secureConnect' : 'connect');
  return client;
}

/** A client of HTTP/2 whose windows no answer fills: it asks for no more of one unless a test has it do so. */
export async function connectOverHttp2({ secure, host }) {
  const session = connectHttp2(`${secure ? 'https' : 'http'}://${host}:${PORT}`, {
    rejectUnauthorized: false,
    settings: { initialWindowSize: WINDOW },
  });
  session.on('error', () => undefined);
  await Promise.all([once(session, 'connect'), once(session, 'remoteSettings')]);
  session.setLocalWindowSize(WINDOW);
  const { socket } = session;
  const client = {
    session,
    socket: { localPort: socket.localPort },
    /** A request whose body is not sent yet, and what has come of its answer. */
    begin: (url, headers = {}, options) => {
      const stream = session.request({ ':path': url, ...headers }, options);
      const request = { stream, text: '', length: 0 };
      stream.on('error', () => undefined);
      stream.on('data', (bytes) => {
        request.length += bytes.length;
        if (request.text.length < 10_000) request.text += bytes.toString('latin1');
      });
      return request;
    },
    ask: async (url, pattern) => {
      const request = client.begin(url);
      await until(`${pattern}`, () => pattern.test(request.text));
      return request;
    },
    ping: () => new Promise((resolve) => session.ping(resolve)),
  };
  // An answer comes after all that the two have settled between them.
  await client.ask('/', /ok$/);
  await client.ping();
  return client;
}

const WINDOW = 100 << 20;

/** A client that has become one of a WebSocket. */
export async function connectWebSocket(copy) {
  const client = await connect(copy);
  client.send('GET / HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n');
  await client.got(/ 101 [\s\S]*\r\n\r\n$/);
  const frame = (opcode, text) => {
    // Masked by zeros, which leaves the text as it is.
    client.send(Buffer.from([0x80 | opcode, 0x80 | text.length, 0, 0, 0, 0, ...Buffer.from(text)]));
    return until(`the frame: ${text}`, () => copy.requests.includes(text));
  };
  return Object.assign(client, { say: (text) => frame(1, text), ping: (text) => frame(9, text) });
}

export function get(url) {
  return `GET ${url} HTTP/1.1\r\nHost: test\r\n\r\n`;
}

/** A request with a body of 100 bytes, which are not sent here. */
export function post(...headers) {
  return ['POST / HTTP/1.1', 'Host: test', 'Content-Length: 100', ...headers, '', ''].join('\r\n');
}

/** What a look says of a client's connection: `idle`, `moving`, `owed: unread` …, `gone`. */
export function stateOf(watch, client) {
  watch.look({ sure: true });
  const row = tcpSockets(CONNECTED, PORT).find(({ peer }) => peer.port === client.socket.localPort);
  const verdict = [...watch.verdicts()].find(([id]) => cookieOf(id) === row?.cookie)?.[1];
  return verdict === undefined ? 'gone' : inWords(verdict);
}

function cookieOf(id) {
  return Buffer.from(id, 'latin1').readBigUInt64LE(40);
}

function inWords(verdict) {
  return verdict.type === 'owed' ? `owed: ${verdict.reason}` : verdict.type;
}

/** The server's and the client's end of a connection within this process. */
export function connection(fd, host = '127.0.0.1') {
  const client = openSocket('tcp', addressAt(host).family);
  if (connectTo(client, addressAt(host)) < 0) throw new Error(`no connection to ${host}`);
  return { client, child: acceptNow(fd) };
}

/** A copy that is this process, whose clients have other ports. */
export function ownCopy(fd = listener()) {
  return { listeners: () => [fd], ports: [PORT], inodes: () => socketsOf('self') };
}

/** What a look says of all connections, one after the other. */
export function statesOf(watch) {
  watch.look({ sure: true });
  return [...watch.verdicts().values()].map(inWords);
}

/** The same once a connection that was made after everything else has become idle, so that the time of quiet is over. */
export async function stateAfterQuiet(watch, copy, client) {
  const witness = await connect(copy);
  await until(
    'the idle witness',
    () => stateOf(watch, witness) === 'idle' && stateOf(watch, client) !== 'moving',
  );
  witness.socket.destroy();
  await until('the end of the witness', () => stateOf(watch, witness) === 'gone');
  return stateOf(watch, client);
}

export async function until(fact, look) {
  const deadlineMs = performance.now() + 10_000;
  for (;;) {
    const seen = await look();
    if (seen) return seen;
    if (performance.now() > deadlineMs) throw new Error(`not within 10 s: ${fact}`);
    await sleep(2);
  }
}
