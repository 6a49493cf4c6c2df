import { expect } from 'vitest';
import { testNeeding } from '../support/needing.js';
import { inside } from './inside.js';

/** A connection between two sockets of the process: `client`, `child`, `listener`. */
const CONNECTION = `
  const at = (host, port) => ({ family: host.includes(':') ? 'ipv6' : 'ipv4', host, port });
  const PORT = 7000;
  const { openSocket, bindTo, listenWith, connectTo, acceptNow, closeFd, receiveBytes } = kernel;
  const connection = (host) => {
    const address = at(host, PORT);
    const listener = openSocket('tcp', address.family);
    bindTo(listener, address);
    listenWith(listener, 8);
    const client = openSocket('tcp', address.family);
    connectTo(client, address);
    return { address, listener, client, child: acceptNow(listener) };
  };
  const bindAnew = (address) => {
    const fd = openSocket('tcp', address.family);
    const result = bindTo(fd, address);
    closeFd(fd);
    return result;
  };`;
const EADDRINUSE = -98;

testNeeding('netns')('a TIME_WAIT that is destroyed is gone, and its port is free', async () => {
  const told = await inside(
    ['socket-calls', 'sock-diag', 'sock-destroy'],
    `${CONNECTION}
    tell(['127.0.0.1', '::1', '::ffff:127.0.0.1'].map((host) => {
      const { address, listener, client, child } = connection(host);
      for (const fd of [child, client, listener]) closeFd(fd);
      const entries = () => kernel.tcpSockets(['TIME_WAIT'], PORT);
      const [entry] = entries();
      const before = [entries().length, bindAnew(address)];
      kernel.destroyTcpSocket(entry);
      return { before, after: [entries().length, bindAnew(address)] };
    }));`,
  );
  const gone = { before: [1, EADDRINUSE], after: [0, 0] };
  expect(told).toEqual([gone, gone, gone]);
});

testNeeding('netns')('a connection that is destroyed is reset at both ends', async () => {
  const told = await inside(
    ['socket-calls', 'sock-diag', 'sock-destroy'],
    `${CONNECTION}
    const { client, child } = connection('127.0.0.1');
    const [row] = kernel.tcpSockets(['ESTABLISHED'], PORT);
    kernel.destroyTcpSocket(row);
    const states = [child, client].map((fd) => kernel.tcpStateOf(fd).state);
    tell({ states, errors: [child, client].map((fd) => receiveBytes(fd, 1)) });`,
  );
  // ECONNABORTED for its own process, ECONNRESET for the other.
  expect(told).toEqual({ states: ['CLOSE', 'CLOSE'], errors: [-103, -104] });
});

testNeeding('netns')('what is not there any more, or was never, cannot be destroyed', async () => {
  const told = await inside(
    ['socket-calls', 'sock-diag', 'sock-destroy'],
    `${CONNECTION}
    const { client, child } = connection('127.0.0.1');
    for (const fd of [child, client]) closeFd(fd);
    const [entry] = kernel.tcpSockets(['TIME_WAIT'], PORT);
    const destroy = (socket) => codeOf(() => kernel.destroyTcpSocket(socket));
    // The number that a socket has for itself tells it from a later one of the same two ends.
    const other = destroy({ ...entry, cookie: entry.cookie + 1n });
    tell([other, destroy(entry), destroy(entry)]);`,
  );
  expect(told).toEqual([expect.stringMatching(/^(ENOENT|ESTALE)$/), 'ok', 'ENOENT']);
});

testNeeding(['netns', 'root'])('without CAP_NET_ADMIN nothing can be destroyed', async () => {
  const told = await inside(
    ['socket-calls', 'sock-diag', 'sock-destroy', 'netns'],
    `${CONNECTION}
    const { client, child } = connection('127.0.0.1');
    const [row] = kernel.tcpSockets(['ESTABLISHED'], PORT);
    const outcome = kernel.withoutCapabilities(1000, () => codeOf(() => kernel.destroyTcpSocket(row)));
    tell({ outcome, states: [child, client].map((fd) => kernel.tcpStateOf(fd).state) });`,
  );
  expect(told).toEqual({ outcome: 'EPERM', states: ['ESTABLISHED', 'ESTABLISHED'] });
});

/** TIME_WAIT entries of the listener's port, from hosts of 127/8 in turn. */
const LEFTOVERS = `${CONNECTION}
  const both = ['TIME_WAIT', 'FIN_WAIT2'];
  const listenAt = (host, port = PORT) => {
    const fd = openSocket('tcp', at(host, port).family);
    bindTo(fd, at(host, port));
    listenWith(fd, 8);
    return { fd, address: at(host, port) };
  };
  const connect = ({ fd, address }) => {
    const client = openSocket('tcp', address.family);
    connectTo(client, address);
    return { client, child: acceptNow(fd) };
  };
  const leave = (listener, count = 1) => {
    for (let i = 0; i < count; i++) {
      const { client, child } = connect(listener);
      closeFd(child);
      closeFd(client);
    }
  };
  const left = (port = PORT) => kernel.tcpPort(port).leftovers.map(({ state, local, count }) => [state, local.host, count]).sort();
  const until = async (look) => {
    for (let tries = 0; !look(); tries++) {
      if (tries === 500) throw new Error('not so: ' + look + JSON.stringify(left()));
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  };`;

testNeeding('netns')('leftovers of a port are destroyed together, and nothing else is', async () => {
  const told = await inside(
    ['socket-calls', 'sock-diag', 'sock-destroy'],
    `${LEFTOVERS}
    const listeners = ['127.0.0.1', '::1', '::ffff:127.0.0.9'].map((host) => listenAt(host));
    for (const listener of listeners) leave(listener, 3);
    leave(listenAt('127.0.0.1', PORT + 1));
    const alive = connect(listeners[0]);
    const half = connect(listeners[0]);
    kernel.shutdownFor(half.child, 'write');
    const orphan = connect(listeners[0]);
    closeFd(orphan.child);
    await until(() => left().some(([state]) => state === 'FIN_WAIT2'));
    const before = left();
    const result = kernel.destroyLeftovers({ port: PORT, states: both });
    const sockets = kernel.tcpPort(PORT).sockets.map(({ state }) => state).sort();
    tell({ before, result, after: left(), neighbour: left(PORT + 1), sockets });`,
  );
  expect(told).toEqual({
    before: [
      ['FIN_WAIT2', '127.0.0.1', 1],
      ['TIME_WAIT', '127.0.0.1', 3],
      ['TIME_WAIT', '::1', 3],
      ['TIME_WAIT', '::ffff:127.0.0.9', 3],
    ],
    result: { destroyed: 10, gone: 0 },
    after: [],
    neighbour: [['TIME_WAIT', '127.0.0.1', 1]],
    sockets: ['ESTABLISHED', 'FIN_WAIT2', 'LISTEN', 'LISTEN', 'LISTEN'],
  });
});

testNeeding('netns')(
  'only the leftovers of the host and in the states that are named are destroyed',
  async () => {
    const told = await inside(
      ['socket-calls', 'sock-diag', 'sock-destroy'],
      `${LEFTOVERS}
    const [one, two, six] = ['127.0.0.1', '127.0.0.2', '::1'].map((host) => listenAt(host));
    for (const listener of [one, two, six]) leave(listener);
    closeFd(connect(one).child);
    await until(() => left().some(([state]) => state === 'FIN_WAIT2'));
    const destroy = (host, states) => [kernel.destroyLeftovers({ port: PORT, host, states }).destroyed, left()];
    tell([destroy('127.0.0.1', ['FIN_WAIT2']), destroy('::1', both), destroy('127.0.0.1', both), destroy('127.0.0.1', both)]);`,
    );
    const entry = (host: string): unknown[] => ['TIME_WAIT', host, 1];
    expect(told).toEqual([
      [1, [entry('127.0.0.1'), entry('127.0.0.2'), entry('::1')]],
      [1, [entry('127.0.0.1'), entry('127.0.0.2')]],
      [1, [entry('127.0.0.2')]],
      [0, [entry('127.0.0.2')]],
    ]);
  },
);

testNeeding('netns')('more leftovers than one send holds are all destroyed', async () => {
  const told = await inside(
    ['socket-calls', 'sock-diag', 'sock-destroy'],
    `${LEFTOVERS}
    leave(listenAt('127.0.0.1'), 1000);
    const before = left()[0][2];
    tell({ before, ...kernel.destroyLeftovers({ port: PORT, states: both }), after: left() });`,
  );
  const { before, destroyed, after } = told as Record<'before' | 'destroyed', number> & { after: unknown };
  expect(before).toBeGreaterThan(900);
  expect(destroyed).toBe(before);
  expect(after).toEqual([]);
});

testNeeding(['netns', 'root'])(
  'leftovers are not for everybody to destroy, unless there are none',
  async () => {
    const told = await inside(
      ['socket-calls', 'sock-diag', 'sock-destroy', 'netns'],
      `${LEFTOVERS}
    leave(listenAt('127.0.0.1'), 300);
    const outcome = (port) => codeOf(() => kernel.destroyLeftovers({ port, states: both }));
    const before = left();
    const outcomes = kernel.withoutCapabilities(1000, () => [outcome(PORT), outcome(PORT + 1)]);
    tell({ outcomes, same: before[0][2] === left()[0][2] });`,
    );
    expect(told).toEqual({ outcomes: ['EPERM', 'ok'], same: true });
  },
);
