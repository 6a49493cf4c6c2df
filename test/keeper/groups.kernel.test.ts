import { expect, onTestFinished, test } from 'vitest';
import { ownNamespace } from '../../src/keeper/child-socket.js';
import { ReusePortGroups } from '../../src/keeper/groups.js';
import { type HeldSocket, HeldSockets } from '../../src/keeper/held.js';
import { close } from '../../src/kernel/fd.js';
import type { Fd } from '../../src/kernel/libc.js';
import {
  bind,
  listen,
  setReuseAddress,
  setReusePort,
  streamSocket,
  tcpState,
} from '../../src/kernel/socket.js';
import { closeFd, connectTo, openSocket } from '../../src/kernel/socket-calls.js';
import type { InetAddress } from '../../src/model/address.js';
import { TCP_STATES } from '../../src/model/tcp-state.js';
import { freePort } from '../support/ports.js';
import { until } from '../support/wait.js';

const CLIENTS_BETWEEN = 20;

test.each([
  { former: 4, next: 4 },
  { former: 1, next: 3 },
  // Where fewer serve than leave, nobody is left in the end who need not move: who comes then comes again after a second.
  { former: 5, next: 2 },
  { former: 3, next: 1 },
])(
  'while $former sockets of one generation leave the group, every client goes to the $next of the next',
  async ({ former, next }) => {
    const address: InetAddress = { family: 'ipv4', host: '127.0.0.1', port: await freePort() };
    const groups = new ReusePortGroups();
    const [old, serving] = [new HeldSockets((held) => groups.released(held)), new HeldSockets()];
    onTestFinished(() => {
      for (const sockets of [old, serving]) sockets.releaseAll();
    });
    for (let at = 0; at < former; at++) listener(old, address);
    groups.open(old.all());
    for (let at = 0; at < next; at++) groups.joined(listener(serving, address));
    groups.serve(serving.all());
    const clients: Fd[] = [];
    onTestFinished(() => {
      for (const client of clients) closeFd(client);
    });
    // Whatever is done next with a socket, clients come before.
    for (const held of [...old.all(), ...serving.all()]) {
      onUse(held, () => {
        for (let count = 0; count < CLIENTS_BETWEEN; count++) clients.push(newClient(address));
      });
    }
    groups.leave(old.all());
    old.releaseAll();
    groups.refresh();
    expect(clients.length).toBeGreaterThan(former * CLIENTS_BETWEEN);
    const states = (): readonly number[] => [...new Set(clients.map(tcpState))];
    await until('no client is on its way', () => !states().includes(TCP_STATES.SYN_SENT));
    expect(states()).toEqual([TCP_STATES.ESTABLISHED]);
  },
);

function listener(sockets: HeldSockets, address: InetAddress): HeldSocket {
  const fd = streamSocket('ipv4');
  try {
    setReuseAddress(fd, true);
    setReusePort(fd, true);
    bind(fd, address);
    listen(fd, 4_096);
  } catch (error) {
    close(fd);
    throw error;
  }
  const place = { address, v6only: false, device: '', netns: ownNamespace() };
  return sockets.add({ fd, address, place, listened: true, programReusesPort: true });
}

function onUse(held: HeldSocket, before: () => void): void {
  const { fd } = held;
  Object.defineProperty(held, 'fd', {
    get: () => {
      before();
      return fd;
    },
  });
}

function newClient(address: InetAddress): Fd {
  const fd = openSocket('tcp', 'ipv4', 'non-blocking') as Fd;
  connectTo(fd, address);
  return fd;
}
