import fc from 'fast-check';
import { expect, test } from 'vitest';
import { type PortChoice, portsForBind, portsForConnect, portsForUdp } from '../../src/model/ephemeral.js';
import { DEFAULT_SYSCTLS, emptyWorld, type Id, type Sysctls } from '../../src/model/world.js';
import { at, must, Play } from './play.js';

const LOW = 7000;

/** Offsets are what counts: the range begins at an even or odd number all the same. */
function offsets({ options, mayFail }: PortChoice): { options: readonly number[]; mayFail: boolean } {
  return { options: options.map((port) => port - LOW).sort((a, b) => a - b), mayFail };
}

/** What bind to port 0 may get in a range of that size whose ports at these offsets are taken. */
function forBind(
  size: number,
  taken: readonly number[],
  { reuse = false, sysctls = {} }: { reuse?: boolean; sysctls?: Partial<Sysctls> } = {},
): ReturnType<typeof offsets> {
  const play = new Play(emptyWorld({ sysctls: { ...DEFAULT_SYSCTLS, ...sysctls } }));
  const flags = reuse ? (['SO_REUSEADDR'] as const) : [];
  for (const offset of taken) must(play.bind(play.socket('tcp4', ...flags), at('0.0.0.0', LOW + offset)));
  const asker = play.at(play.socket('tcp4', ...flags));
  return offsets(portsForBind(play.world, asker, { low: LOW, high: LOW + size - 1 }));
}

test('bind to port 0 takes odd offsets, and even ones only when no odd one is free', () => {
  expect(forBind(6, [])).toEqual({ options: [1, 3, 5], mayFail: false });
  expect(forBind(6, [1, 3])).toEqual({ options: [5], mayFail: false });
  expect(forBind(6, [1, 3, 5])).toEqual({ options: [0, 2, 4], mayFail: false });
  expect(forBind(6, [0, 1, 2, 3, 4, 5])).toEqual({ options: [], mayFail: true });
});

test('with SO_REUSEADDR bind to port 0 takes the lower half of the range first', () => {
  expect(forBind(8, [], { reuse: true })).toEqual({ options: [1, 3], mayFail: false });
  expect(forBind(8, [1, 3], { reuse: true })).toEqual({ options: [0, 2], mayFail: false });
  expect(forBind(8, [0, 1, 2, 3], { reuse: true })).toEqual({ options: [5, 7], mayFail: false });
  // A range of less than four ports has no halves.
  expect(forBind(3, [], { reuse: true })).toEqual({ options: [1], mayFail: false });
});

test('a port that another socket has is not chosen, though both have SO_REUSEADDR', () => {
  expect(forBind(2, [1], { reuse: true }).options).toEqual([0]);
  expect(forBind(2, [0, 1], { reuse: true })).toEqual({ options: [], mayFail: true });
  const autobindReuse = { reuse: true, sysctls: { autobindReuse: true } };
  expect(forBind(2, [0, 1], autobindReuse)).toEqual({ options: [1], mayFail: false });
});

test('of an odd number of ports one end may be missed', () => {
  expect(forBind(1, [])).toEqual({ options: [0], mayFail: false });
  // The last of three is never tried.
  expect(forBind(3, [0, 1])).toEqual({ options: [], mayFail: true });
  expect(forBind(3, [1, 2])).toEqual({ options: [0], mayFail: false });
  // Whether the first or the last of five is tried depends on where the kernel begins.
  expect(forBind(5, [1, 2, 3, 4])).toEqual({ options: [0], mayFail: true });
  expect(forBind(5, [0, 1, 2, 3])).toEqual({ options: [4], mayFail: true });
  expect(forBind(5, [0, 1, 3, 4])).toEqual({ options: [2], mayFail: false });
});

test('connect takes even offsets, and odd ones only when no even one is free', () => {
  const choose = (size: number, taken: readonly number[], isOwnRange = false): unknown =>
    offsets(
      portsForConnect(
        emptyWorld(),
        { low: LOW, high: LOW + size - 1 },
        isOwnRange,
        (port) => !taken.includes(port - LOW),
      ),
    );
  expect(choose(6, [])).toEqual({ options: [0, 2, 4], mayFail: false });
  expect(choose(6, [0, 4])).toEqual({ options: [2], mayFail: false });
  expect(choose(6, [0, 2, 4])).toEqual({ options: [1, 3, 5], mayFail: false });
  expect(choose(3, [0, 1])).toEqual({ options: [], mayFail: true });
  // IP_LOCAL_PORT_RANGE: one after the other.
  expect(choose(3, [0], true)).toEqual({ options: [1, 2], mayFail: false });
  expect(choose(3, [0, 1, 2], true)).toEqual({ options: [], mayFail: true });
});

test('UDP tries every port', () => {
  const choose = (taken: readonly number[]): unknown =>
    offsets(portsForUdp(emptyWorld(), { low: LOW, high: LOW + 2 }, (port) => !taken.includes(port - LOW)));
  expect(choose([])).toEqual({ options: [0, 1, 2], mayFail: false });
  expect(choose([0, 1])).toEqual({ options: [2], mayFail: false });
  expect(choose([0, 1, 2])).toEqual({ options: [], mayFail: true });
});

test('a socket without a conflict may have the port that another one has at another address', () => {
  const play = new Play();
  must(play.bind(play.socket('tcp4'), at('127.0.0.1', LOW)));
  const choice = (asker: Id): readonly number[] =>
    portsForBind(play.world, play.at(asker), { low: LOW, high: LOW }).options;
  const other = play.socket('tcp4', 'IP_BIND_ADDRESS_NO_PORT');
  must(play.bind(other, at('127.0.0.2', 0)));
  expect(choice(other)).toEqual([LOW]);
  expect(choice(play.socket('tcp4'))).toEqual([]);
});

const SIZE = 12;
const situation = fc.record({
  size: fc.integer({ min: 1, max: SIZE }),
  low: fc.integer({ min: LOW, max: LOW + 1 }),
  taken: fc.uniqueArray(fc.nat(SIZE - 1)),
  reserved: fc.uniqueArray(fc.nat(SIZE - 1)),
  reuse: fc.boolean(),
  autobindReuse: fc.boolean(),
});

test('every port that may be chosen lies in the range, is free and not reserved; only an odd range may miss a free one', () => {
  fc.assert(
    fc.property(situation, ({ size, low, taken, reserved, reuse, autobindReuse }) => {
      const reservedPorts = reserved.map((offset) => low + offset);
      const play = new Play(emptyWorld({ sysctls: { ...DEFAULT_SYSCTLS, reservedPorts, autobindReuse } }));
      for (const offset of taken) must(play.bind(play.socket('tcp4'), at('0.0.0.0', low + offset)));
      const range = { low, high: low + size - 1 };
      const asker = play.at(play.socket('tcp4', ...(reuse ? (['SO_REUSEADDR'] as const) : [])));
      const isTaken = (port: number): boolean => taken.includes(port - low);
      const free = Array.from({ length: size }, (_, offset) => low + offset).filter(
        (port) => !isTaken(port) && !reservedPorts.includes(port),
      );
      const choices = [
        portsForBind(play.world, asker, range),
        portsForConnect(play.world, range, false, (port) => !isTaken(port)),
        portsForConnect(play.world, range, true, (port) => !isTaken(port)),
        portsForUdp(play.world, range, (port) => !isTaken(port)),
      ];
      for (const { options, mayFail } of choices) {
        expect(free).toEqual(expect.arrayContaining([...options]));
        expect(new Set(options).size).toBe(options.length);
        if (!mayFail) expect(options).not.toEqual([]);
        if (size % 2 === 0) expect(mayFail).toBe(free.length === 0);
      }
    }),
    { numRuns: 500 },
  );
});
