import { expect } from 'vitest';
import { testNeeding } from '../support/needing.js';
import { inside } from './inside.js';

const MODULES = ['socket-calls', 'connection-counts', 'socket', 'netstat'];

const SOCKETS = `
  const { openSocket, bindTo, listenWith, connectTo, acceptNow, shutdownFor, closeFd, limitConnect } = kernel;
  const { countConnections, acceptQueue, socketDrops, listenFailures } = kernel;
  const listenAt = (port, backlog = 1024, host = '127.0.0.1') => {
    const to = { family: host.includes(':') ? 'ipv6' : 'ipv4', host, port };
    const fd = openSocket('tcp', to.family);
    bindTo(fd, to);
    listenWith(fd, backlog);
    return { fd, to };
  };
  const connected = ({ to }) => {
    const client = openSocket('tcp', to.family);
    connectTo(client, to);
    return client;
  };
  const connection = (listener) => ({ client: connected(listener), child: acceptNow(listener.fd) });
  const seen = (port) => {
    const counts = countConnections([port], 1000).ports.get(port);
    return Object.fromEntries(Object.entries(counts).filter(([, count]) => count > 0));
  };`;

testNeeding('netns')(
  'our ends of connections are counted by state, and not the ends of the clients',
  async () => {
    const told = await inside(
      MODULES,
      `${SOCKETS}
    const listener = listenAt(7000);
    const looks = [seen(7000)];
    connected(listener);
    looks.push(seen(7000));
    acceptNow(listener.fd);
    const server = connection(listener);
    shutdownFor(server.child, 'write');
    // The kernel of the client takes its time to acknowledge.
    while (seen(7000).FIN_WAIT1 === 1) await new Promise((resolve) => setTimeout(resolve, 5));
    looks.push(seen(7000));
    closeFd(server.client);
    closeFd(server.child);
    looks.push(seen(7000));
    const client = connection(listener);
    closeFd(client.client);
    looks.push(seen(7000));
    closeFd(client.child);
    looks.push(seen(7000));
    tell(looks);`,
    );
    expect(told).toEqual([
      {},
      { ESTABLISHED: 1 },
      { ESTABLISHED: 1, FIN_WAIT2: 1 },
      { ESTABLISHED: 1, TIME_WAIT: 1 },
      { ESTABLISHED: 1, TIME_WAIT: 1, CLOSE_WAIT: 1 },
      // Nothing is left with us of the one that its client closed first.
      { ESTABLISHED: 1, TIME_WAIT: 1 },
    ]);
  },
);

testNeeding('netns')('each port is counted by itself, over IPv4 and IPv6, and no other one', async () => {
  const told = await inside(
    MODULES,
    `${SOCKETS}
    const [one, two, six, other] = [listenAt(7000), listenAt(7001), listenAt(7001, 1024, '::1'), listenAt(7002)];
    for (const listener of [one, two, two, six, other]) connected(listener);
    const { ports, complete } = countConnections([7000, 7001, 7003], 1000);
    const cut = countConnections([7000, 7001], 3);
    tell([[...ports].map(([port, { ESTABLISHED }]) => [port, ESTABLISHED]), complete, cut.complete]);`,
  );
  expect(told).toEqual([
    [
      [7000, 1],
      [7001, 3],
      [7003, 0],
    ],
    true,
    false,
  ]);
});

testNeeding('netns')(
  'a listening socket tells its queue, the limit of it, and the requests that were dropped for it',
  async () => {
    const told = await inside(
      MODULES,
      `${SOCKETS}
      const listener = listenAt(7000, 2);
      const look = () => ({ ...acceptQueue(listener.fd), drops: socketDrops(listener.fd), ...listenFailures() });
      const looks = [look()];
      for (let clients = 0; clients < 3; clients++) connected(listener);
      looks.push(look());
      const late = openSocket('tcp', 'ipv4');
      limitConnect(late, 50);
      connectTo(late, listener.to);
      looks.push(look());
      tell(looks);`,
    );
    expect(told).toEqual([
      { length: 0, limit: 2, drops: 0, overflows: 0 },
      // One more than the limit.
      { length: 3, limit: 2, drops: 0, overflows: 0 },
      { length: 3, limit: 2, drops: 1, overflows: 1 },
    ]);
  },
);
