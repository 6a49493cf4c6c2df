// Many processes that reserve ports at the same time, in one network namespace, beside others that take ephemeral ones.
// node crowd.js crowd LIBRARY batch|soon|same RESERVERS COUNT CONNECTORS; prints what happened as one line of JSON. `same`:
// all of them want the same ports by number.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import { createInterface } from 'node:readline';

const [role, library, mode, ...numbers] = process.argv.slice(2);
const [first, count, connectors] = numbers.map(Number);
const TARGET = 1000;
const FIRST_WANTED = 20000;

if (role === 'crowd') await crowd();
else if (role === 'reserver') await reserver();
else await connector();

async function crowd() {
  const target = createServer((socket) => socket.on('error', () => undefined).resume());
  target.listen(TARGET, '127.0.0.1');
  await once(target, 'listening');
  const takers = Array.from({ length: connectors }, () => child('connector'));
  const reservers = Array.from({ length: first }, () => child('reserver'));
  await Promise.all([...takers, ...reservers].map(({ line }) => line()));
  // All of them at once, then all that was reserved is listened on.
  for (const { say } of [...takers, ...reservers]) say('reserve');
  const reserved = (await Promise.all(reservers.map(({ line }) => line()))).map((line) => JSON.parse(line));
  for (const { say } of reservers) say('listen');
  const listened = (await Promise.all(reservers.map(({ line }) => line()))).map((line) => JSON.parse(line));
  const connected = takers.map(({ say, line }) => {
    say('tell');
    return line();
  });
  const taken = (await Promise.all(connected)).map(Number);
  for (const { end } of [...takers, ...reservers]) end();
  const ports = reserved.flatMap(({ ports }) => ports);
  console.log(
    JSON.stringify({
      reserved: ports.length,
      distinct: new Set(ports).size,
      refused: reserved.flatMap(({ errors }) => errors),
      listened: listened.reduce((sum, { listening }) => sum + listening, 0),
      failed: listened.flatMap(({ errors }) => errors),
      connections: taken.reduce((sum, n) => sum + n, 0),
      idleConnectors: taken.filter((n) => n === 0).length,
    }),
  );
  process.exit();
}

/** A process, what it says and is told line by line. */
function child(role) {
  const process_ = spawn(process.execPath, [process.argv[1], role, library, mode, `${first}`, `${count}`], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const lines = createInterface(process_.stdout)[Symbol.asyncIterator]();
  return {
    line: async () => (await lines.next()).value,
    say: (text) => process_.stdin.write(`${text}\n`),
    end: () => process_.stdin.end(),
  };
}

async function reserver() {
  const { reservePort } = await import(library);
  const told = orders();
  await told();
  const reservations = [];
  const servers = [];
  const errors = { reserve: [], listen: [] };
  for (let i = 0; i < count; i++) {
    try {
      const port = FIRST_WANTED + i;
      const reservation = await reservePort(mode === 'same' ? { range: { from: port, to: port } } : {});
      reservations.push(reservation);
      if (mode === 'soon') servers.push(await listenOn(reservation.port));
    } catch (error) {
      errors[reservations.length > i ? 'listen' : 'reserve'].push(error.code ?? error.message);
    }
  }
  console.log(JSON.stringify({ ports: reservations.map(({ port }) => port), errors: errors.reserve }));
  await told();
  if (mode !== 'soon') {
    for (const reservation of reservations) {
      await (mode === 'same' ? reservation.listener() : listenOn(reservation.port)).then(
        (server) => servers.push(server),
        (error) => errors.listen.push(error.code),
      );
    }
  }
  console.log(JSON.stringify({ listening: servers.length, errors: errors.listen }));
  await told();
  process.exit();
}

async function listenOn(port) {
  const server = createServer().listen(port);
  await once(server, 'listening');
  return server;
}

/** Takes ephemeral ports by connecting, twenty at a time, and leaves no TIME_WAIT of them. */
async function connector() {
  const told = orders();
  await told();
  let isOver = false;
  told().then(() => {
    isOver = true;
  });
  let connections = 0;
  while (!isOver) {
    const sockets = await Promise.all(
      Array.from({ length: 20 }, async () => {
        const socket = connect(TARGET, '127.0.0.1');
        socket.on('error', () => undefined);
        await once(socket, 'connect').catch(() => undefined);
        return socket;
      }),
    );
    connections += sockets.filter(({ localPort }) => localPort !== undefined).length;
    for (const socket of sockets) socket.resetAndDestroy();
  }
  console.log(connections);
}

/** Says that it is ready, and gives what is told next. */
function orders() {
  const lines = createInterface(process.stdin)[Symbol.asyncIterator]();
  console.log('ready');
  return async () => {
    const { done } = await lines.next();
    if (done) process.exit();
  };
}
