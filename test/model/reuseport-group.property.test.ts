import fc from 'fast-check';
import { expect, test } from 'vitest';
import { GroupOrder } from '../../src/model/reuseport-group.js';

interface Event {
  readonly type: 'join' | 'leave';
  readonly inode: number;
}

/** What happens between two looks: which of the members leave, by numbers to choose them, and how many join. */
const between = fc.record({
  leavers: fc.array(fc.nat(), { maxLength: 3 }),
  joiners: fc.nat({ max: 2 }),
});

test('what is certain is so in every order of events, and nothing else is uncertain at the first look', () => {
  fc.assert(
    fc.property(fc.nat({ max: 7 }), fc.array(between, { minLength: 1, maxLength: 3 }), (size, looks) => {
      const first = Array.from({ length: size }, (_, inode) => inode);
      const order = new GroupOrder(first);
      let possible: readonly (readonly number[])[] = [first];
      looks.forEach(({ leavers, joiners }, look) => {
        const members = possible[0] ?? [];
        const left = new Set(
          members.length === 0 ? [] : leavers.map((choice) => members[choice % members.length] ?? 0),
        );
        const joined = Array.from({ length: joiners }, (_, at) => 100 * (look + 1) + at);
        const events: readonly Event[] = [
          ...[...left].map((inode): Event => ({ type: 'leave', inode })),
          ...joined.map((inode): Event => ({ type: 'join', inode })),
        ];
        possible = distinct(
          possible.flatMap((before) => permutations(events).map((after) => played(before, after))),
        );
        const now = possible[0] ?? [];
        const told = order.sync(now);
        expect(told).toEqual({
          left: expect.arrayContaining([...left]),
          joined,
          uncertain: order.uncertain(),
        });
        for (const inode of now) {
          const indexes = new Set(possible.map((members) => members.indexOf(inode)));
          expect(order.indexesOf(inode)).toEqual(expect.arrayContaining([...indexes]));
          if (look === 0) expect(order.indexesOf(inode).length > 1).toBe(indexes.size > 1);
        }
        expect(order.members().toSorted()).toEqual(now.toSorted());
      });
    }),
    { seed: 1, numRuns: 500 },
  );
});

test('whoever is not said to move keeps the index when a member leaves', () => {
  const inodes = fc.uniqueArray(fc.nat({ max: 9 }), { minLength: 1 });
  fc.assert(
    fc.property(inodes, fc.nat(), fc.nat({ max: 3 }), (members, choice, unseen) => {
      // The last few joined at once, so that their order is not known.
      const known = members.slice(0, members.length - unseen);
      const order = new GroupOrder(known);
      order.sync(members);
      const leaver = members[choice % members.length] ?? 0;
      const moved = order.movedBy(leaver);
      const staying = order.members().filter((inode) => inode !== leaver && !moved.includes(inode));
      const before = staying.map((inode) => order.indexOf(inode));
      expect(before).not.toContain(undefined);
      order.leave(leaver);
      expect(staying.map((inode) => order.indexOf(inode))).toEqual(before);
    }),
    { seed: 1, numRuns: 500 },
  );
});

function played(members: readonly number[], events: readonly Event[]): readonly number[] {
  const order = [...members];
  for (const { type, inode } of events) {
    if (type === 'join') {
      order.push(inode);
      continue;
    }
    const last = order.pop();
    const at = order.indexOf(inode);
    if (at !== -1 && last !== undefined) order[at] = last;
  }
  return order;
}

function permutations<T>(list: readonly T[]): readonly (readonly T[])[] {
  if (list.length === 0) return [[]];
  return list.flatMap((first, at) => permutations(list.toSpliced(at, 1)).map((rest) => [first, ...rest]));
}

function distinct(orders: readonly (readonly number[])[]): readonly (readonly number[])[] {
  return [...new Map(orders.map((order) => [order.join(), order])).values()];
}
