// Reserves ports by one of several methods: node reserver.js METHOD COUNT MODULES LIBRARY.
// stdin, line by line: "reserve", and then "listen" on all of them. stdout: "ready", then JSON for each.
import { once } from 'node:events';
import { createRequire } from 'node:module';
import { createServer } from 'node:net';
import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';

const [method, count, modules, library] = process.argv.slice(2);

const lines = createInterface(process.stdin)[Symbol.asyncIterator]();
const reserve = await methodOf(method);
console.log('ready');
await order();
const reserved = [];
const us = [];
for (let i = 0; i < Number(count); i++) {
  const begun = performance.now();
  try {
    reserved.push(await reserve());
  } catch {
    // Counted by what is missing.
  }
  us.push((performance.now() - begun) * 1_000);
}
console.log(JSON.stringify({ ports: reserved.map(({ port }) => port), us }));
await order();
const listening = [];
for (const { port, listen } of reserved) {
  await (listen ?? (() => listenOn(port)))().then(
    (server) => listening.push(server),
    () => undefined,
  );
}
console.log(JSON.stringify({ listening: listening.length }));
await order();
process.exit();

async function order() {
  const { done } = await lines.next();
  if (done) process.exit();
}

async function listenOn(port) {
  const server = createServer().listen(port);
  await once(server, 'listening');
  return server;
}

async function methodOf(name) {
  const require = createRequire(`${modules}/`);
  const load = (file) => import(pathToFileURL(require.resolve(file)).href);
  switch (name) {
    case 'bind 0, close':
      return async () => {
        const server = createServer().listen(0);
        await once(server, 'listening');
        const { port } = server.address();
        server.close();
        await once(server, 'close');
        return { port };
      };
    case 'get-port': {
      const { default: getPort } = await load('get-port');
      return async () => ({ port: await getPort() });
    }
    case 'portfinder': {
      const { default: portfinder } = await load('portfinder');
      return async () => ({ port: await portfinder.getPortPromise() });
    }
    case 'detect-port': {
      const { detect } = await load('detect-port');
      return async () => ({ port: await detect() });
    }
    case 'get-port-please': {
      const { getRandomPort } = await load('get-port-please');
      return async () => ({ port: await getRandomPort() });
    }
    default: {
      const { reservePort } = await import(pathToFileURL(library).href);
      const options = {
        'holdfast, exclusive': { exclusive: true },
        'holdfast, 127.0.0.1': { host: '127.0.0.1' },
      }[name];
      return async () => {
        const reservation = await reservePort(options);
        const { port } = reservation;
        return options?.exclusive ? { port, listen: () => reservation.listener(createServer()) } : { port };
      };
    }
  }
}
