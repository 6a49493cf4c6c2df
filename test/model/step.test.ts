import { expect, test } from 'vitest';
import { LINUX_6_1, LINUX_6_14 } from '../../src/model/kernel-rules.js';
import type { Operation } from '../../src/model/step.js';
import {
  type Choice,
  DEFAULT_SYSCTLS,
  emptyWorld,
  NotModelled,
  type Sysctls,
  type World,
} from '../../src/model/world.js';
import { runOnModel } from '../lab/on-model.js';
import { at, must, Play } from './play.js';

const P = 7000;
const Q = 7001;

test('a TIME_WAIT whose socket had no SO_REUSEADDR stands in the way of a server that has it', () => {
  const outcome = (oldHadIt: boolean): unknown => {
    const play = new Play();
    const server = play.listener('tcp4', at('0.0.0.0', P));
    const client = play.socket('tcp4');
    must(play.connect(client, at('127.0.0.1', P)));
    const child = play.accept(server);
    if (oldHadIt) play.set(child, 'SO_REUSEADDR');
    play.close(child, client, server);
    const [entry] = play.world.timeWaits.keys();
    const done = play.bind(play.socket('tcp4', 'SO_REUSEADDR'), at('0.0.0.0', P));
    return done.ok ? done : { ...done, isTheEntry: done.holder === entry };
  };
  expect(outcome(false)).toMatchObject({
    code: 'EADDRINUSE',
    rule: 'time-wait-had-no-reuseaddr',
    isTheEntry: true,
  });
  expect(outcome(true)).toEqual({ ok: true, rule: 'port-shared' });
});

test('SO_REUSEADDR that is taken back after bind shares the port no longer; Linux 6.1 remembered it', () => {
  const play = (world: World): unknown => {
    const program = new Play(world);
    const first = program.socket('tcp4', 'SO_REUSEADDR');
    must(program.bind(first, at('127.0.0.1', P)));
    program.set(first, 'SO_REUSEADDR', false);
    const outcome = program.bind(program.socket('tcp4', 'SO_REUSEADDR'), at('127.0.0.1', P));
    return outcome.ok ? outcome : { ...outcome, isFirst: outcome.holder === first };
  };
  expect(play(emptyWorld())).toMatchObject({ code: 'EADDRINUSE', rule: 'address-in-use', isFirst: true });
  expect(play(emptyWorld({ kernel: LINUX_6_1 }))).toEqual({ ok: true, rule: 'reuseaddr-remembered' });
});

test('two sockets with SO_REUSEADDR may be bound to a port, but only one of them listens', () => {
  const play = new Play();
  const [first, second] = [play.socket('tcp4', 'SO_REUSEADDR'), play.socket('tcp4', 'SO_REUSEADDR')];
  must(play.bind(first, at('0.0.0.0', P)));
  expect(play.bind(second, at('0.0.0.0', P))).toEqual({ ok: true, rule: 'port-shared' });
  expect(play.listen(first)).toEqual({ ok: true, rule: 'port-shared' });
  expect(play.listen(second)).toEqual({
    ok: false,
    code: 'EADDRINUSE',
    rule: 'listen-asks-again',
    holder: first,
  });
  expect(play.applied).toEqual(['listener-not-shared', 'listen-asks-again']);
  // It stays bound, so it may try again.
  expect(play.at(second)).toMatchObject({ state: 'CLOSE', port: P });
  play.close(first);
  expect(play.listen(second).ok).toBe(true);
  expect(play.at(second).state).toBe('LISTEN');
});

test('a port that the kernel chose is given up when a connect is refused, though the name goes on showing it', () => {
  const play = new Play();
  const borrower = play.socket('tcp4');
  must(play.bind(borrower, at('127.0.0.1', 0)));
  const { port } = play.at(borrower);
  expect(play.connect(borrower, at('127.0.0.1', P))).toEqual({
    ok: false,
    code: 'ECONNREFUSED',
    rule: 'nobody-listens',
  });
  expect(play.applied).toContain('automatic-port-released');
  expect(play.at(borrower)).toMatchObject({ port: 0, shownPort: port });
  expect(play.bind(play.socket('tcp4'), at('127.0.0.1', port))).toEqual({ ok: true, rule: 'port-free' });
  expect(play.at(borrower).shownPort).toBe(port);
});

test('a port that the program named stays when a connect is refused', () => {
  const play = new Play();
  const owner = play.socket('tcp4');
  must(play.bind(owner, at('127.0.0.1', P)));
  expect(play.connect(owner, at('127.0.0.1', Q))).toMatchObject({ code: 'ECONNREFUSED' });
  expect(play.bind(play.socket('tcp4'), at('127.0.0.1', P))).toEqual({
    ok: false,
    code: 'EADDRINUSE',
    rule: 'address-in-use',
    holder: owner,
  });
});

test('bind to ::1 turns IPV6_V6ONLY on', () => {
  const play = new Play();
  const six = play.socket('tcp6');
  must(play.bind(six, at('::1', P)));
  expect(play.applied).toEqual(['specific-v6-is-v6only', 'port-free']);
  expect(play.at(six).v6only).toBe(true);
  expect(play.set(six, 'IPV6_V6ONLY', false)).toMatchObject({ code: 'EINVAL', rule: 'v6only-before-bind' });
  expect(play.connect(six, at('::ffff:127.0.0.1', P))).toMatchObject({
    code: 'ENETUNREACH',
    rule: 'v6only-refuses-mapped',
  });
  expect(play.bind(play.socket('tcp4'), at('0.0.0.0', P))).toEqual({ ok: true, rule: 'port-shared' });
});

test('an accepted IPv6 connection of a dual-stack listener stands in the way of 0.0.0.0', () => {
  const play = new Play();
  const dual = play.listener('tcp6', at('::', P));
  const client = play.socket('tcp6');
  must(play.connect(client, at('::1', P)));
  const child = play.accept(dual);
  play.close(dual);
  const four = play.socket('tcp4');
  expect(play.bind(four, at('0.0.0.0', P))).toMatchObject({ code: 'EADDRINUSE', holder: child });
  expect(play.bind(four, at('127.0.0.1', P))).toEqual({ ok: true, rule: 'port-shared' });
});

test('connect moves a socket from the wildcard to one address', () => {
  const play = new Play(
    emptyWorld({ addresses: { ipv4: ['10.9.0.1'], ipv6: ['::1'], broadcast: [], devices: ['lo'] } }),
  );
  play.listener('tcp4', at('10.9.0.1', Q));
  const moving = play.socket('tcp4');
  must(play.bind(moving, at('0.0.0.0', P)));
  const other = play.socket('tcp4');
  expect(play.bind(other, at('127.0.0.1', P))).toMatchObject({ code: 'EADDRINUSE', holder: moving });
  must(play.connect(moving, at('10.9.0.1', Q)));
  expect(play.at(moving).local.text).toBe('10.9.0.1');
  expect(play.bind(other, at('127.0.0.1', P)).ok).toBe(true);
});

test('connect from a named port takes the place of its TIME_WAIT if timestamps are in use', () => {
  const outcome = (sysctls: Partial<Sysctls>): unknown => {
    const play = new Play(emptyWorld({ sysctls: { ...DEFAULT_SYSCTLS, twReuse: 0, ...sysctls } }));
    const server = play.listener('tcp4', at('127.0.0.1', Q));
    const old = play.socket('tcp4', 'SO_REUSEADDR');
    must(play.bind(old, at('127.0.0.1', P)));
    must(play.connect(old, at('127.0.0.1', Q)));
    play.close(old, play.accept(server));
    expect(play.world.timeWaits.size).toBe(1);
    const again = play.socket('tcp4', 'SO_REUSEADDR');
    must(play.bind(again, at('127.0.0.1', P)));
    return play.connect(again, at('127.0.0.1', Q));
  };
  expect(outcome({})).toMatchObject({ ok: true, rule: 'connected' });
  expect(outcome({ timestamps: false })).toMatchObject({ code: 'EADDRNOTAVAIL', rule: 'connection-exists' });
});

test('connect never chooses a port that somebody bound, at whatever address', () => {
  const sysctls = { ...DEFAULT_SYSCTLS, portRange: { low: P, high: P } };
  const play = new Play(emptyWorld({ sysctls }));
  play.listener('tcp4', at('127.0.0.1', Q));
  const binder = play.socket('tcp4');
  must(play.bind(binder, at('127.0.0.2', P)));
  const client = play.socket('tcp4');
  expect(play.connect(client, at('127.0.0.1', Q))).toEqual({
    ok: false,
    code: 'EADDRNOTAVAIL',
    rule: 'no-port-to-connect-from',
  });
  play.close(binder);
  expect(play.connect(client, at('127.0.0.1', Q)).ok).toBe(true);
});

test('when its last binder has left, connect may choose a port again; before Linux 6.18 it may not', () => {
  const outcome = (kernel: World['kernel'] | undefined): unknown => {
    const sysctls = { ...DEFAULT_SYSCTLS, portRange: { low: P, high: P } };
    const addresses = { ipv4: ['10.9.0.1'], ipv6: ['::1'], broadcast: [], devices: ['lo'] };
    const play = new Play(emptyWorld({ sysctls, addresses, ...(kernel === undefined ? {} : { kernel }) }));
    play.listener('tcp4', at('0.0.0.0', Q));
    must(play.connect(play.socket('tcp4'), at('127.0.0.1', Q)));
    const binder = play.socket('tcp4');
    must(play.bind(binder, at('10.9.0.1', P)));
    play.close(binder);
    return play.connect(play.socket('tcp4'), at('127.0.0.2', Q));
  };
  expect(outcome(undefined)).toMatchObject({ ok: true });
  expect(outcome(LINUX_6_14)).toMatchObject({ code: 'EADDRNOTAVAIL', rule: 'no-port-to-connect-from' });
});

test('with UDP the first socket that shares by SO_REUSEPORT ends the search', () => {
  const outcome = (order: readonly ('hostile' | 'friendly')[]): unknown => {
    const play = new Play();
    for (const who of order) {
      const socket = who === 'friendly' ? play.socket('udp4', 'SO_REUSEPORT') : play.socket('udp4');
      must(play.bind(socket, at(who === 'friendly' ? '127.0.0.2' : '127.0.0.1', P)));
    }
    return play.bind(play.socket('udp4', 'SO_REUSEPORT'), at('0.0.0.0', P));
  };
  // The one that was bound last is looked at first.
  expect(outcome(['hostile', 'friendly'])).toEqual({ ok: true, rule: 'udp-first-sharer-decides' });
  expect(outcome(['friendly', 'hostile'])).toMatchObject({ code: 'EADDRINUSE', rule: 'address-in-use' });
});

test('an IPv6 connect after one to a v4-mapped address is not modelled, for it hangs', () => {
  const play = new Play();
  const six = play.socket('tcp6');
  expect(play.connect(six, at('::ffff:127.0.0.1', P))).toMatchObject({ code: 'ECONNREFUSED' });
  expect(() => play.connect(six, at('::1', P))).toThrow(NotModelled);
  // The other order is.
  const other = play.socket('tcp6');
  expect(play.connect(other, at('::1', P))).toMatchObject({ code: 'ECONNREFUSED' });
  expect(play.connect(other, at('::ffff:127.0.0.1', P))).toMatchObject({ code: 'ECONNREFUSED' });
});

test('a choice of the kernel is offered with all that it may choose', () => {
  const sysctls = { ...DEFAULT_SYSCTLS, portRange: { low: P, high: P + 3 } };
  const play = new Play(emptyWorld({ sysctls }));
  const offered: Choice<number>[] = [];
  const socket = play.socket('tcp4');
  play.bind(socket, at('127.0.0.1', 0), (choice) => {
    offered.push(choice);
    return choice.options.at(-1);
  });
  expect(offered).toEqual([{ kind: 'port', options: [P + 1, P + 3], mayFail: false }]);
  expect(play.at(socket).port).toBe(P + 3);
});

test('a kernel that finds no port fails by the rule for that, and nobody in particular stands in the way', () => {
  const sysctls = { ...DEFAULT_SYSCTLS, portRange: { low: P, high: P } };
  const play = new Play(emptyWorld({ sysctls }));
  must(play.bind(play.socket('tcp4'), at('127.0.0.1', P)));
  expect(play.bind(play.socket('tcp4'), at('127.0.0.1', 0))).toEqual({
    ok: false,
    code: 'EADDRINUSE',
    rule: 'no-automatic-port',
  });
});

test('whoever had a port has none of it when its process has ended and TIME_WAIT is over', () => {
  const play = new Play();
  const server = play.listener('tcp4', at('0.0.0.0', P));
  must(play.connect(play.socket('tcp4'), at('127.0.0.1', P)));
  play.accept(server);
  play.do({ type: 'exit', process: 'p' });
  play.do({ type: 'wait', ms: 59_999 });
  expect(play.world.timeWaits.size).toBe(1);
  play.do({ type: 'wait', ms: 1 });
  expect(play.applied).toContain('time-wait-ends');
  const { sockets, timeWaits, ports, connections, listeners } = play.world;
  expect([sockets, timeWaits, ports, connections, listeners].map(({ size }) => size)).toEqual([
    0, 0, 0, 0, 0,
  ]);
});

const SEEDS = Array.from({ length: 150 }, (_, index) => index + 1);

test('a step never changes the world that it was given', () => {
  for (const seed of SEEDS) {
    runOnModel(seed, 'mixed', (before, operation, perform) => {
      const copy = copyOf(before);
      perform();
      expect(copyOf(before), `${operation.type} of seed ${seed}`).toEqual(copy);
    });
  }
});

test('an EADDRINUSE for a named port names somebody who holds that port', () => {
  let refused = 0;
  for (const seed of SEEDS) {
    runOnModel(seed, seed % 2 === 0 ? 'tcp' : 'udp', (before, operation, perform) => {
      const port = askedPort(before, operation);
      const outcome = perform()?.outcome;
      if (port === 0 || outcome === undefined || outcome.ok || outcome.code !== 'EADDRINUSE') return;
      refused++;
      const id = outcome.holder ?? 0;
      const holder = before.sockets.get(id) ?? before.timeWaits.get(id);
      expect(holder?.port, `${operation.type} of seed ${seed}`).toBe(port);
    });
  }
  expect(refused).toBeGreaterThan(20);
});

/** The port that is named or held already; 0 when the kernel is to choose, or when nothing is asked for. */
function askedPort(world: World, operation: Operation): number {
  if (operation.type === 'bind') return operation.address.port;
  return operation.type === 'listen' ? (world.sockets.get(operation.socket)?.port ?? 0) : 0;
}

function copyOf(world: World): unknown {
  const { sysctls, sockets, timeWaits, ports, udpPorts, listeners, connections, now, nextId } = world;
  return structuredClone({
    sysctls,
    sockets,
    timeWaits,
    ports,
    udpPorts,
    listeners,
    connections,
    now,
    nextId,
  });
}
