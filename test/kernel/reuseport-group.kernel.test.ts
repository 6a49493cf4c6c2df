import fc from 'fast-check';
import { expect, onTestFinished, test } from 'vitest';
import { errorCode } from '../../src/errors.js';
import { close } from '../../src/kernel/fd.js';
import type { Fd } from '../../src/kernel/libc.js';
import { withSocketOwner } from '../../src/kernel/netns.js';
import { steerGroup, steerGroupTo, unsteerGroup } from '../../src/kernel/reuseport-group.js';
import { tcpListeners } from '../../src/kernel/sock-diag.js';
import {
  bind,
  changeOwner,
  listen,
  setReuseAddress,
  setReusePort,
  socketInode,
  streamSocket,
} from '../../src/kernel/socket.js';
import { bindTo, closeFd, connectTo, openSocket, setOption } from '../../src/kernel/socket-calls.js';
import type { InetAddress } from '../../src/model/address.js';
import { GroupOrder } from '../../src/model/reuseport-group.js';
import { testNeeding } from '../support/needing.js';
import { freePort, freePorts } from '../support/ports.js';
import { start } from '../support/process.js';
import { until } from '../support/wait.js';
import { ADD_ADDRESS, inside, kernelFile } from './inside.js';

/** Where the group is, and over which address its clients come. */
const PLACES: readonly { readonly at: string; readonly via: string }[] = [
  { at: '127.0.0.1', via: '127.0.0.1' },
  { at: '0.0.0.0', via: '127.0.0.1' },
  { at: '::1', via: '::1' },
  { at: '::', via: '::1' },
  { at: '::', via: '127.0.0.1' },
];

const SOL_SOCKET = 1;
const SO_LINGER = 13;
const IPPROTO_IP = 0;
const IP_OPTIONS = 4;
const IPPROTO_IPV6 = 41;
const IPV6_DSTOPTS = 59;

test.each(PLACES)('the order of a group at $at is as the kernel has it, via $via', async ({ at, via }) => {
  const events = fc.array(fc.record({ joins: fc.boolean(), which: fc.nat() }), {
    minLength: 8,
    maxLength: 16,
  });
  const sequence = fc.asyncProperty(events, async (sequence) => {
    const group = new Group(at, await freePort());
    const followed = new GroupOrder();
    const synced = new GroupOrder();
    try {
      for (const { joins, which } of [{ joins: true, which: 0 }, ...sequence]) {
        const members = group.inodes();
        const leaver = members[which % members.length];
        if (joins || members.length < 2 || leaver === undefined) followed.join(group.join());
        else {
          group.leave(leaver);
          followed.leave(leaver);
        }
        const change = synced.sync(group.inodesInKernel());
        expect(change.left.length + change.joined.length).toBe(1);
        expect(synced.members()).toEqual(followed.members());
        for (const inode of followed.members()) {
          group.steer({ to: [followed.indexOf(inode) ?? -1] });
          expect(await group.takerOf(via)).toBe(inode);
        }
      }
    } finally {
      group.close();
    }
  });
  await fc.assert(sequence, { seed: 1, numRuns: 4 });
});

test('a look finds strangers, and a program that names another member gives them nothing', async () => {
  const group = await groupAt('127.0.0.1', 1);
  const order = new GroupOrder(group.inodes());
  const [own = 0] = group.inodes();
  const stranger = start([process.execPath, '--input-type=module', '-e', listenerCode(group.address)]);
  await stranger.line(/^listening$/);
  const { joined } = order.sync(group.inodesInKernel());
  expect(joined).toEqual([expect.any(Number)]);
  expect(order.indexOf(joined[0] ?? 0)).toBe(1);
  group.steer({ to: [order.indexOf(own) ?? -1] });
  for (let client = 0; client < 20; client++) expect(await group.takerOf('127.0.0.1')).toBe(own);
  group.steer({ to: [1] });
  expect(await group.takerOf('127.0.0.1')).toBe(joined[0]);
  await stranger.stop();
  expect(order.sync(group.inodesInKernel())).toEqual({ left: joined, joined: [], uncertain: [] });
});

test('a listener is a member until its last fd is closed, in whatever process', async () => {
  const group = await groupAt('127.0.0.1', 3);
  const order = new GroupOrder(group.inodes());
  const [first = 0, second = 0, third = 0] = group.inodes();
  const other = start(['/bin/sh', '-c', 'echo has it; read line'], {
    stdio: ['pipe', 'pipe', 'pipe', group.fdOf(first)],
  });
  await other.line(/^has it$/);
  group.leave(first);
  expect(order.sync(group.inodesInKernel()).left).toEqual([]);
  group.steer({ to: [0] });
  expect(await group.takerOf('127.0.0.1')).toBe(first);
  await other.stop();
  await until('the end of the first', () => order.sync(group.inodesInKernel()).left.length === 1);
  expect(order.members()).toEqual([third, second]);
  expect(await group.takerOf('127.0.0.1')).toBe(third);
});

test('of two that left between two looks, who was first decides: the order says that it does not know', async () => {
  const takers = new Set<number | undefined>();
  for (const reversed of [false, true]) {
    const group = await groupAt('127.0.0.1', 4);
    const members = group.inodes();
    const order = new GroupOrder(members);
    const leavers = members.slice(0, 2);
    for (const inode of reversed ? leavers.toReversed() : leavers) group.leave(inode);
    expect(order.sync(group.inodesInKernel()).uncertain).toEqual(members.slice(2));
    group.steer({ to: [0] });
    takers.add(members.indexOf((await group.takerOf('127.0.0.1')) ?? 0));
    // Together they have known places.
    expect(order.indexesOfAll(members.slice(2))).toEqual([0, 1]);
  }
  expect([...takers].toSorted()).toEqual([2, 3]);
});

for (const value of ['0', '1'])
  testNeeding('netns')(
    `a listener that stops and listens again is the last, with tcp_migrate_req=${value}`,
    async () => {
      const told = await inside(
        ['socket-calls', 'socket', 'reuseport-group'],
        `
    const address = { family: 'ipv4', host: '127.0.0.1', port: 7000 };
    const members = [0, 1, 2, 3].map(() => {
      const fd = kernel.streamSocket('ipv4');
      kernel.setReusePort(fd, true);
      kernel.bind(fd, address);
      kernel.listen(fd, 8);
      return fd;
    });
    const takerOf = (index) => {
      kernel.steerGroupTo(members[0], index);
      kernel.connectTo(kernel.openSocket('tcp', 'ipv4'), address);
      return members.findIndex((fd) => kernel.isListening(fd) && kernel.acceptNow(fd) >= 0);
    };
    const order = () => members.map((_, index) => takerOf(index)).slice(0, members.filter(kernel.isListening).length);
    const orders = [order()];
    kernel.stopListening(members[1]);
    orders.push(order());
    kernel.listen(members[1], 8);
    orders.push(order());
    tell(orders);`,
        { sysctls: { 'net.ipv4.tcp_migrate_req': value } },
      );
      expect(told).toEqual([
        [0, 1, 2, 3],
        [0, 3, 2],
        [0, 3, 2, 1],
      ]);
    },
  );

test('a program outlives the member by which it was attached, and counts for those that join later', async () => {
  const group = await groupAt('127.0.0.1', 3);
  const [first = 0, second, third] = group.inodes();
  steerGroupTo(group.fdOf(first), 1);
  group.leave(first);
  const fourth = group.join();
  expect(await group.takersOf('127.0.0.1', 40)).toEqual([second]);
  steerGroupTo(group.fdOf(fourth), 0);
  expect(await group.takersOf('127.0.0.1', 40)).toEqual([third]);
});

test('an index that no member has means any member', async () => {
  const group = await groupAt('127.0.0.1', 2);
  group.steer({ to: [2] });
  const takers = await group.takersOf('127.0.0.1', 60);
  expect(takers.toSorted()).toEqual(group.inodes().toSorted());
});

test('several members share new connections, whatever their indexes', async () => {
  const group = await groupAt('127.0.0.1', 7);
  const members = group.inodes();
  group.steer({ to: [1, 2, 6] });
  const takers = await group.takersOf('127.0.0.1', 200);
  expect(takers.toSorted()).toEqual([1, 2, 6].map((index) => members[index]).toSorted());
});

test('300 listeners can share new connections among each second one', async () => {
  const group = await groupAt('127.0.0.1', 300);
  const chosen = group.inodes().filter((_, index) => index % 2 === 1);
  group.steer({ to: chosen.map((_, at) => 2 * at + 1) });
  const takers = await group.takersOf('127.0.0.1', 600);
  expect(takers.filter((inode) => !chosen.includes(inode))).toEqual([]);
  expect(takers.length).toBeGreaterThan(100);
  const [last] = chosen.toReversed();
  group.steer({ to: [299] });
  expect(await group.takerOf('127.0.0.1')).toBe(last);
});

test.each(PLACES)(
  'a check gets to its member from its source ports only, at $at via $via',
  async ({ at, via }) => {
    const group = await groupAt(at, 3);
    const [before = 0, from = 0, between = 0, to = 0, behind = 0] = await sortedPorts(5);
    const [, second, third] = group.inodes();
    for (const clients of [[1], [1, 1, 1]]) {
      group.steer({ to: clients, check: { sourcePorts: { from, to }, index: 2 } });
      for (const port of [from, between, to]) expect(await group.takerOf(via, { port })).toBe(third);
      for (const port of [before, behind]) expect(await group.takerOf(via, { port })).toBe(second);
      for (let client = 0; client < 10; client++) expect(await group.takerOf(via)).toBe(second);
    }
  },
);

test.each(PLACES.filter(({ via }) => via === '127.0.0.1'))(
  'a check is found behind the options of an IPv4 header, at $at',
  async ({ at, via }) => {
    const group = await groupAt(at, 2);
    const [first, second] = group.inodes();
    const port = await freePort();
    group.steer({ to: [0], check: { sourcePorts: { from: port, to: port }, index: 1 } });
    const nothing = Buffer.from([1, 1, 1, 1, 1, 1, 1, 0]);
    const prepare = (fd: Fd): void => {
      expect(setOption(fd, IPPROTO_IP, IP_OPTIONS, nothing)).toBe(0);
    };
    expect(await group.takerOf(via, { port, prepare })).toBe(second);
    expect(await group.takerOf(via, { prepare })).toBe(first);
  },
);

test.each(PLACES.filter(({ via }) => via === '127.0.0.1'))(
  'a client from another IPv4 address is no check, whatever its source port, at $at',
  async ({ at, via }) => {
    const group = await groupAt(at, 2);
    const [first, second] = group.inodes();
    const port = await freePort();
    group.steer({ to: [0], check: { sourcePorts: { from: port, to: port }, index: 1 } });
    expect(await group.takerOf(via, { port, host: '127.0.0.2' })).toBe(first);
    expect(await group.takerOf(via, { port })).toBe(second);
  },
);

testNeeding('netns')('a client from another IPv6 address is no check, wherever the two differ', async () => {
  const told = await inside(
    ['socket-calls', 'socket', 'reuseport-group'],
    `${ADD_ADDRESS}
    const at = (host, port) => ({ family: 'ipv6', host, port });
    const own = '2001:db8::1';
    const hosts = ['2001:db9::1', '2001:db8:1::1', '2001:db8::1:0:0:1', '2001:db8::2', own];
    for (const host of hosts) addAddress(host + '/128');
    const members = [0, 1].map(() => {
      const fd = kernel.streamSocket('ipv6');
      kernel.setReusePort(fd, true);
      kernel.bind(fd, at(own, 7000));
      kernel.listen(fd, 8);
      return fd;
    });
    const check = { sourcePorts: { from: 7001, to: 7001 }, index: 1 };
    kernel.steerGroup(members[0], { to: [0], check, family: 'ipv6' });
    tell(hosts.map((host) => {
      const client = kernel.openSocket('tcp', 'ipv6');
      const results = [kernel.bindTo(client, at(host, 7001)), kernel.connectTo(client, at(own, 7000))];
      return [...results, members.findIndex((fd) => kernel.acceptNow(fd) >= 0)];
    }));`,
  );
  expect(told).toEqual([...Array(4).fill([0, 0, 0]), [0, 0, 1]]);
});

testNeeding('root')('a packet with IPv6 extension headers is no check', async () => {
  const group = await groupAt('::', 2);
  const [first, second] = group.inodes();
  const port = await freePort();
  // Where a header without extensions has the ports, this has the number of TCP and the length 0.
  group.steer({ to: [0], check: { sourcePorts: { from: 6 << 8, to: 6 << 8 }, index: 1 } });
  const padding = Buffer.from([0, 0, 1, 4, 0, 0, 0, 0]);
  const prepare = (fd: Fd): void => {
    expect(setOption(fd, IPPROTO_IPV6, IPV6_DSTOPTS, padding)).toBe(0);
  };
  expect(await group.takerOf('::1', { port, prepare })).toBe(first);
  group.steer({ to: [0], check: { sourcePorts: { from: port, to: port }, index: 1 } });
  expect(await group.takerOf('::1', { port, prepare })).toBe(first);
  expect(await group.takerOf('::1', { port })).toBe(second);
});

test('without its program a group shares by hash again', async () => {
  const group = await groupAt('127.0.0.1', 2);
  const [first = 0] = group.inodes();
  const fd = group.fdOf(first);
  steerGroupTo(fd, 0);
  expect(await group.takersOf('127.0.0.1', 20)).toEqual([first]);
  unsteerGroup(fd);
  expect(await group.takersOf('127.0.0.1', 60)).toHaveLength(2);
  expect(codeOf(() => unsteerGroup(fd))).toBe('ENOENT');
});

test('a group is not steered to nobody, and a socket without a group not at all', async () => {
  const group = await groupAt('127.0.0.1', 1);
  expect(codeOf(() => group.steer({ to: [] }))).toBe('EINVAL');
  const alone = streamSocket('ipv4');
  onTestFinished(() => close(alone));
  bind(alone, { family: 'ipv4', host: '127.0.0.1', port: await freePort() });
  listen(alone, 1);
  expect(codeOf(() => steerGroup(alone, { to: [0], family: 'ipv4' }))).toBe('EINVAL');
  expect(codeOf(() => unsteerGroup(alone))).toBe('EINVAL');
});

testNeeding('root')('a socket that is given to the owner of a group may join it', async () => {
  const address: InetAddress = { family: 'ipv4', host: '127.0.0.1', port: await freePort() };
  const made = (uid: number): Fd => {
    const fd = withSocketOwner(uid, () => streamSocket('ipv4'));
    onTestFinished(() => close(fd));
    setReusePort(fd, true);
    return fd;
  };
  const [held, fresh] = [made(1000), made(0)];
  bind(held, address);
  listen(held, 128);
  expect(codeOf(() => bind(fresh, address))).toBe('EADDRINUSE');
  changeOwner(fresh, 1000);
  bind(fresh, address);
  listen(fresh, 128);
  expect(tcpListeners(address.port).map(({ uid }) => uid)).toEqual([1000, 1000]);
  steerGroupTo(held, 1);
  expect(await takerOf(address)).toBe(socketInode(fresh));
});

/** Listeners with SO_REUSEPORT at one address, known by their inodes, in the order in which they began to listen. */
class Group {
  readonly address: InetAddress;
  readonly #fds = new Map<number, Fd>();

  constructor(host: string, port: number) {
    this.address = addressOf(host, port);
  }

  get port(): number {
    return this.address.port;
  }

  join(): number {
    const fd = streamSocket(this.address.family);
    setReusePort(fd, true);
    bind(fd, this.address);
    listen(fd, 4_096);
    const inode = socketInode(fd);
    this.#fds.set(inode, fd);
    return inode;
  }

  leave(inode: number): void {
    close(this.fdOf(inode));
    this.#fds.delete(inode);
  }

  inodes(): readonly number[] {
    return [...this.#fds.keys()];
  }

  fdOf(inode: number): Fd {
    const fd = this.#fds.get(inode);
    if (fd === undefined) throw new Error(`no member ${inode}`);
    return fd;
  }

  inodesInKernel(): readonly number[] {
    return tcpListeners(this.port).map(({ inode }) => inode);
  }

  steer(steering: Omit<Parameters<typeof steerGroup>[1], 'family'>): void {
    const [fd = -1] = this.#fds.values();
    steerGroup(fd, { ...steering, family: this.address.family });
  }

  takerOf(via: string, client?: Client): Promise<number | undefined> {
    return takerOf(addressOf(via, this.port), client);
  }

  /** The members that get any of so many clients. */
  async takersOf(via: string, clients: number): Promise<readonly number[]> {
    const before = queues(this.port);
    for (let client = 0; client < clients; client++) connectFrom(addressOf(via, this.port));
    await until('the clients in the queues', () => sum(queues(this.port)) === sum(before) + clients);
    return grown(before, queues(this.port));
  }

  close(): void {
    for (const inode of this.inodes()) this.leave(inode);
  }
}

interface Client {
  /** Source address; the kernel's choice when left out. */
  readonly host?: string;
  readonly port?: number;
  readonly prepare?: (fd: Fd) => void;
}

async function groupAt(host: string, members: number): Promise<Group> {
  const group = new Group(host, await freePort());
  onTestFinished(() => group.close());
  for (let member = 0; member < members; member++) group.join();
  return group;
}

/** A program that joins the group and accepts nobody. */
function listenerCode(address: InetAddress): string {
  return `
    const { bind, listen, setReusePort, streamSocket } = await import(${kernelFile('socket')});
    const fd = streamSocket(${JSON.stringify(address.family)});
    setReusePort(fd, true);
    bind(fd, ${JSON.stringify(address)});
    listen(fd, 128);
    console.log('listening');
    setInterval(() => undefined, 60_000);`;
}

/** The inode of the listener that gets one client. */
async function takerOf(address: InetAddress, client?: Client): Promise<number | undefined> {
  const before = queues(address.port);
  connectFrom(address, client);
  const takers = await until(
    'the client in a queue',
    () => {
      const found = grown(before, queues(address.port));
      return found.length > 0 ? found : undefined;
    },
    { everyMs: 1 },
  );
  expect(takers).toHaveLength(1);
  return takers[0];
}

/** Connects, and leaves nothing behind: the end is a reset. */
function connectFrom(to: InetAddress, { host, port, prepare }: Client = {}): void {
  const fd = openSocket('tcp', to.family);
  try {
    setOption(fd, SOL_SOCKET, SO_LINGER, Buffer.from([1, 0, 0, 0, 0, 0, 0, 0]));
    setReuseAddress(fd, true);
    prepare?.(fd);
    if (port !== undefined) expect(bindTo(fd, { ...to, host: host ?? to.host, port })).toBe(0);
    expect(connectTo(fd, to)).toBe(0);
  } finally {
    closeFd(fd);
  }
}

type Queues = ReadonlyMap<number, number>;

/** How many clients wait at each listener on the port. */
function queues(port: number): Queues {
  return new Map(tcpListeners(port).map(({ inode, receiveQueue }) => [inode, receiveQueue]));
}

function grown(before: Queues, after: Queues): readonly number[] {
  return [...after].filter(([inode, length]) => length > (before.get(inode) ?? 0)).map(([inode]) => inode);
}

function sum(lengths: Queues): number {
  return [...lengths.values()].reduce((total, length) => total + length, 0);
}

function addressOf(host: string, port: number): InetAddress {
  return { family: host.includes(':') ? 'ipv6' : 'ipv4', host, port };
}

async function sortedPorts(count: number): Promise<readonly number[]> {
  return (await freePorts(count)).toSorted((one, other) => one - other);
}

function codeOf(work: () => unknown): string | undefined {
  try {
    work();
    return undefined;
  } catch (error) {
    return errorCode(error);
  }
}
