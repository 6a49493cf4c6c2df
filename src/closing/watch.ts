import type { Server } from 'node:net';
import { isMainThread } from 'node:worker_threads';
import { openConnections, rememberSecured } from './connection.js';
import { Departure } from './departure.js';
import { end, ownHandlers } from './end.js';
import { rememberSessions } from './sessions.js';
import { settingsOf } from './settings.js';

const settings = settingsOf(process.env);

/** Weakly: who listens or has connections is held by those, and of all others nothing is left to do. */
const watched = new Set<WeakRef<Server>>();

let departure: Departure | undefined;

/** Whether nobody but this handles the signal: then the program ends by it, once its servers have left. */
let mayEnd = false;

/** From now on the server takes part when the program leaves. Threads get no signals: their servers end with them. */
export function watch(server: Server): void {
  if (!isMainThread) return;
  // A program that handles the signal itself may begin anew.
  if (mayEnd) departure?.add(server);
  for (const known of watched) {
    if (known.deref() === server) return; // it listens again
    if (known.deref() === undefined) watched.delete(known);
  }
  // Before the program's own handlers: they may close the server, and that has to wait for clients then.
  if (!process.listeners(settings.signal).includes(leave)) process.prependListener(settings.signal, leave);
  watched.add(new WeakRef(server));
  rememberSecured(server);
  rememberSessions(server);
}

/**
 * A second signal changes nothing: supervisors send one to a whole group, and npm passes it on once more. But a handler
 * may send it again when it is done, and be none any more.
 */
function leave(): void {
  const wasToEnd = mayEnd;
  mayEnd ||= ownHandlers(settings.signal, leave) === 0;
  try {
    departure ??= depart();
  } catch {
    // Whatever it is: the signal does what it does without this.
  }
  const ends = (): void => end(settings.signal, leave);
  if (!mayEnd || wasToEnd) return;
  if (departure === undefined) ends();
  else void departure.gone.then(ends);
}

/** Undefined when no server is there. */
function depart(): Departure | undefined {
  const servers = openServers();
  if (servers.length === 0) return undefined;
  const begun = new Departure(settings);
  for (const server of servers) begun.add(server);
  return begun;
}

/** Those that listen, and those that have been closed while connections go on. */
function openServers(): Server[] {
  const connected = new Set(openConnections().map(({ server }) => server));
  return [...watched]
    .map((known) => known.deref())
    .filter((server) => server !== undefined)
    .filter((server) => server.listening || connected.has(server));
}
