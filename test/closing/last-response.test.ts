import { createServer, type RequestListener, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { followManners } from '../../src/closing/last-response.js';
import { leaveAll } from '../../src/closing/manner.js';
import { Client } from './client.js';

let server: Server;
let respond: RequestListener;

beforeAll(async () => {
  // It is for good: this file's process has nothing else to answer.
  leaveAll({ isLeaving: true, waitsForClosers: false, idleMs: 1_000, peerFirstMs: 1_000, reset: false });
  followManners();
  server = createServer((request, response) => respond(request, response));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
});

afterAll(() => {
  server.close();
});

/** What a program does, and what the header is then. */
const WAYS: Readonly<Record<string, readonly [RequestListener, string]>> = {
  nothing: [(_, response) => response.end('x'), 'close'],
  'headers one by one': [
    (_, response) => response.setHeader('X-One', '1').setHeader('connection', 'keep-alive').end('x'),
    'close',
  ],
  'an object': [
    (_, response) => response.writeHead(200, { 'X-One': '1', connection: 'Keep-Alive' }).end('x'),
    'close',
  ],
  'an object, and headers before': [
    (_, response) => {
      response.setHeader('X-Two', '2');
      response.writeHead(200, { 'X-One': '1', Connection: 'keep-alive' }).end('x');
    },
    'close',
  ],
  'an array': [
    (_, response) => response.writeHead(200, ['X-One', '1', 'Connection', 'keep-alive']).end('x'),
    'close',
  ],
  'an array, and headers before': [
    (_, response) => {
      response.setHeader('X-Two', '2');
      response.writeHead(200, ['X-One', '1', 'Connection', 'keep-alive']).end('x');
    },
    'close',
  ],
  pairs: [
    (_, response) => {
      const pairs = [
        ['X-One', '1'],
        ['Connection', 'keep-alive'],
      ] as unknown as string[];
      response.writeHead(200, pairs).end('x');
    },
    'close',
  ],
  'a removed header': [
    (_, response) => {
      response.setHeader('X-One', '1');
      response.removeHeader('Connection');
      response.end('x');
    },
    'close',
  ],
  'names of other headers': [
    (_, response) => response.writeHead(426, { Connection: 'Upgrade, keep-alive', Upgrade: 'h2c' }).end('x'),
    'Upgrade, close',
  ],
  'several values': [
    (_, response) => response.setHeader('Connection', ['X-One', 'keep-alive']).end('x'),
    'X-One, close',
  ],
  chunks: [
    (_, response) => {
      response.write('x');
      response.end();
    },
    'close',
  ],
  'headers that are sent first': [
    (_, response) => {
      response.flushHeaders();
      response.end('x');
    },
    'close',
  ],
  'a middleware of its writeHead': [
    (_, response) => {
      const { writeHead } = response;
      response.writeHead = ((...args: Parameters<typeof writeHead>) => {
        response.setHeader('X-Late', '1');
        return writeHead.apply(response, args);
      }) as typeof writeHead;
      response.end('x');
    },
    'close',
  ],
  'an error': [(_, response) => response.writeHead(500, 'Oh', { 'Content-Length': '1' }).end('x'), 'close'],
};

for (const [way, [listener, expected]] of Object.entries(WAYS)) {
  test(`a response made with ${way} says close, once`, async () => {
    respond = listener;
    const client = await Client.connect((server.address() as AddressInfo).port);
    client.send();
    const { headers, body, head } = await client.answer();
    expect(headers.connection).toBe(expected);
    expect(head.match(/^connection:/gim)).toHaveLength(1);
    expect(head).not.toMatch(/^keep-alive:/im);
    expect(body).toBe('x');
    for (const name of ['x-one', 'x-two']) {
      if (listener.toString().toLowerCase().includes(`'${name}', '`)) expect(headers[name]).toBeDefined();
    }
    client.close();
  });
}

test('several values of one header stay several', async () => {
  respond = (_, response) => response.writeHead(200, { 'Set-Cookie': ['a=1', 'b=2'] }).end('x');
  const client = await Client.connect((server.address() as AddressInfo).port);
  const { head } = await client.request();
  expect(head.match(/^set-cookie: [ab]=\d/gim)).toHaveLength(2);
  client.close();
});

test('a response without a body is one', async () => {
  respond = (_, response) => response.writeHead(204).end();
  const client = await Client.connect((server.address() as AddressInfo).port);
  expect(await client.request()).toMatchObject({ status: 204, headers: { connection: 'close' } });
  client.close();
});

test('a program that answers an upgrade by a response keeps its header', async () => {
  respond = (_, response) => response.writeHead(101, { Connection: 'Upgrade', Upgrade: 'x' }).end();
  const client = await Client.connect((server.address() as AddressInfo).port);
  expect((await client.request()).headers.connection).toBe('Upgrade');
  client.close();
});
