import { expect, test } from 'vitest';
import { type GroupChange, GroupOrder } from '../../src/model/reuseport-group.js';

const [A, B, C, D, E, F, X, Y] = [10, 11, 12, 13, 14, 15, 20, 21] as const;

/** By index; undefined where it is uncertain who is there. */
function places(order: GroupOrder): readonly (number | undefined)[] {
  const members = order.members();
  return members.map((_, index) => members.find((inode) => order.indexOf(inode) === index));
}

test('who begins to listen is the last', () => {
  const order = new GroupOrder([A]);
  order.join(B);
  order.join(C);
  expect(order.members()).toEqual([A, B, C]);
  expect(order.indexOf(C)).toBe(2);
  expect(order.indexesOf(C)).toEqual([2]);
});

test('the last takes the place of a listener that leaves', () => {
  const order = new GroupOrder([A, B, C, D]);
  order.leave(B);
  expect(order.members()).toEqual([A, D, C]);
  order.leave(C);
  expect(order.members()).toEqual([A, D]);
  order.leave(A);
  expect(order.members()).toEqual([D]);
});

test('a member that joins again, or a stranger that leaves, changes nothing', () => {
  const order = new GroupOrder([A, B]);
  order.join(A);
  order.leave(X);
  expect(order.members()).toEqual([A, B]);
  expect(order.indexOf(X)).toBeUndefined();
  expect(order.indexesOf(X)).toEqual([]);
  expect(order.has(X)).toBe(false);
});

test('a look tells who left and which strangers joined', () => {
  const order = new GroupOrder([A, B]);
  const look = (...inodes: readonly number[]): GroupChange => order.sync(inodes);
  expect(look(A, B)).toEqual({ left: [], joined: [], uncertain: [] });
  expect(look(A, B, X)).toEqual({ left: [], joined: [X], uncertain: [] });
  expect(look(X, B)).toEqual({ left: [A], joined: [], uncertain: [] });
  expect(order.members()).toEqual([X, B]);
  expect(look(X, C, D)).toEqual({ left: [B], joined: [C, D], uncertain: [C, D] });
  expect(look()).toEqual({ left: [X, C, D], joined: [], uncertain: [] });
  expect(order.members()).toEqual([]);
});

test.each<[string, number[], number[], (number | undefined)[]]>([
  ['two leave from the end', [A, B, C, D], [A, B], [A, B]],
  ['the first and the last leave', [A, B, C, D], [B, C], [C, B]],
  ['all but one leave', [A, B, C, D], [D], [D]],
  [
    'two leave before two others, and either may come first',
    [A, B, C, D, E],
    [C, D, E],
    [undefined, undefined, C],
  ],
  ['one leaves and one joins', [A, B, C], [B, C, X], [undefined, B, undefined]],
  ['the last leaves and one joins', [A, B], [A, X], [A, X]],
  ['two join', [A], [A, X, Y], [A, undefined, undefined]],
])('%s', (_, before, now, after) => {
  const order = new GroupOrder(before);
  order.sync(now);
  expect(places(order)).toEqual(after);
  const known = after.filter((inode) => inode !== undefined);
  expect(order.uncertain().toSorted()).toEqual(now.filter((inode) => !known.includes(inode)).toSorted());
});

test('an uncertain member has the places that nobody has for certain', () => {
  const order = new GroupOrder([A, B, C, D, E]);
  order.sync([C, D, E]);
  expect(order.uncertain()).toEqual([D, E]);
  expect(order.indexOf(D)).toBeUndefined();
  expect(order.indexesOf(D)).toEqual([0, 1]);
  expect(order.indexesOf(C)).toEqual([2]);
});

test('who joins or leaves later is certain again where it can be', () => {
  const order = new GroupOrder([A, B, C, D, E]);
  order.sync([C, D, E]);
  order.join(X);
  expect(places(order)).toEqual([undefined, undefined, C, X]);
  order.leave(C);
  expect(places(order)).toEqual([undefined, undefined, X]);
  // It takes the place of D or stays beside E, whichever was the first.
  order.leave(D);
  expect(order.uncertain()).toEqual([E, X]);
  expect(order.indexesOf(X)).toEqual([0, 1]);
  order.leave(X);
  expect(order.members()).toEqual([E]);
  expect(order.indexOf(E)).toBe(0);
});

test('several members may have certain places between them', () => {
  const order = new GroupOrder([A, B, C, D, E, F]);
  expect(order.indexesOfAll([D, A])).toEqual([0, 3]);
  expect(order.indexesOfAll([A, X])).toBeUndefined();
  order.sync([D, E, F]);
  expect(order.uncertain()).toEqual([D, E, F]);
  expect(order.indexesOfAll([D, E, F])).toEqual([0, 1, 2]);
  expect(order.indexesOfAll([D, E])).toBeUndefined();
  order.join(X);
  expect(order.indexesOfAll([X])).toEqual([3]);
  expect(order.indexesOfAll([])).toEqual([]);
});
