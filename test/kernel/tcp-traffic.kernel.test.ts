import { expect } from 'vitest';
import { testNeeding } from '../support/needing.js';
import { inside } from './inside.js';

testNeeding('netns')('what went over a connection is told for both of its ends', async () => {
  const told = (await inside(
    ['socket-calls', 'sock-diag', 'tcp-traffic'],
    `
    const { openSocket, bindTo, listenWith, connectTo, acceptNow, sendBytes, receiveBytes } = kernel;
    const address = { family: 'ipv4', host: '127.0.0.1', port: 7000 };
    const listener = openSocket('tcp', 'ipv4');
    bindTo(listener, address);
    listenWith(listener, 8);
    const client = openSocket('tcp', 'ipv4');
    bindTo(client, { ...address, port: 7001 });
    connectTo(client, address);
    const child = acceptNow(listener);
    sendBytes(client, 100);
    receiveBytes(child, 100);
    sendBytes(child, 3000);
    const of = (port) => {
      const [row] = kernel.tcpSockets(['ESTABLISHED'], port);
      return kernel.tcpTraffic(port).get(row.cookie);
    };
    tell({ server: of(7000), client: of(7001), listener: kernel.tcpTraffic(7002).size });`,
  )) as { server: object; client: object; listener: number };
  expect(told.server).toMatchObject({ bytesReceived: 100, dataSegmentsIn: 1, bytesUnsent: 0 });
  // The SYN counts as one.
  expect(told.client).toMatchObject({ bytesReceived: 3000, bytesAcked: 101, dataSegmentsOut: 1 });
  expect(told.listener).toBe(0);
});
