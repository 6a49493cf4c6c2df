import type { Generation } from './generation.js';
import { type HeldSocket, type Place, placeKey } from './held.js';
import { currentHolders, isAtRest } from './tree.js';
import type { Worker } from './worker.js';

/** How long a server that was handed its sockets and does not call listen has to load. */
const HANDED_MS = 1_000;

/** Whether a process of the worker has the socket and takes clients from it. */
export function isServedBy(held: HeldSocket, worker: Worker | undefined): boolean {
  if (worker?.tree === undefined || !held.confirmed) return false;
  if (!held.claims.has(worker.id)) return held.listened && takesFromHanded(held, worker);
  // It may have died a moment ago, and nobody has told yet.
  return currentHolders([worker.tree], held.inode, held.holders).length > 0;
}

/** A server that was handed its socket need not call listen: it takes clients when it has come to rest. */
function takesFromHanded({ inode }: HeldSocket, { root, tree, startedMs }: Worker): boolean {
  if (root === undefined || performance.now() - startedMs < HANDED_MS || !isAtRest(root)) return false;
  return tree !== undefined && tree.holdersOf(inode).length > 0;
}

/** Where workers of the generation take clients, as text: the same for the same places. */
export function servedPlaces(generation: Generation): string {
  return placesOf(generation)
    .filter((place) => serves(generation, place))
    .map(placeKey)
    .sort()
    .join();
}

/** Places of the former generation at which no worker of the next one takes clients. */
export function unservedPlaces(former: Generation, next: Generation): readonly Place[] {
  return placesOf(former).filter((place) => !serves(next, place));
}

function serves({ held, slots }: Generation, place: Place): boolean {
  return held.at(place).some((one) => slots.some(({ worker }) => isServedBy(one, worker)));
}

function placesOf({ held }: Generation): readonly Place[] {
  const confirmed = held.all().filter((one) => one.confirmed);
  const places = confirmed.flatMap(({ place }) =>
    place === undefined ? [] : [[placeKey(place), place] as const],
  );
  return [...new Map(places).values()];
}
