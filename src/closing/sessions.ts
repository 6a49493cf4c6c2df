import type { ServerHttp2Session, ServerHttp2Stream } from 'node:http2';
import type { Server, Socket } from 'node:net';
import { type Connection, connectionsOf, keptBy } from './connection.js';
import { readStart } from './hang-up.js';
import { harmless } from './harmless.js';
import { type Manner, mannerOf } from './manner.js';
import { resetOnceAcknowledged } from './reset.js';
import { endAfterFin } from './tls-end.js';

const sessions = new Map<ServerHttp2Session, Server>();
const remembering = new WeakSet<Server>();
const carriers = new WeakSet<Socket>();

/** From now on the sessions of an HTTP/2 server are known, and those that are there where Node tells of them. */
export function rememberSessions(server: Server): void {
  // Every server of HTTP/2 has this method, and no other.
  if (!('updateSettings' in server) || remembering.has(server)) return;
  remembering.add(server);
  const remember = (session: ServerHttp2Session): void => {
    if (sessions.has(session)) return;
    sessions.set(session, server);
    carriers.add(socketOf(session) as Socket);
    session.once('close', () => sessions.delete(session));
    const manner = mannerOf(server);
    if (manner?.isLeaving) closeWithNext(session, manner);
  };
  for (const session of sessionsOf(server)) remember(session);
  server.on('session', remember);
  server.prependListener('stream', ({ session }: ServerHttp2Stream) => {
    if (session !== undefined) remember(session as ServerHttp2Session);
  });
}

/** Whether a session of HTTP/2 has the connection. */
export function hasSession(connection: Connection): boolean {
  return carriers.has(connection);
}

/** Closes the sessions of a server, or of all, as its manner says. Open streams are finished. */
export function closeSessions(manner: Manner, ofServer?: Server): void {
  for (const [session, server] of sessions) {
    if (ofServer === undefined || server === ofServer) closeWithNext(session, manner);
  }
}

/**
 * Tells the client with the session's next stream, or when none has come: a client that uses one stream at a time has no
 * other on its way then, which the GOAWAY would refuse.
 */
function closeWithNext(session: ServerHttp2Session, manner: Manner): void {
  let isTold = false;
  const close = (): void => {
    if (!isTold) harmless(() => letEnd(session, manner));
    isTold = true;
  };
  const timer = setTimeout(close, manner.idleMs).unref();
  // Before the program's answer: its client is to read that after the GOAWAY.
  session.prependOnceListener('stream', (stream: ServerHttp2Stream) => {
    clearTimeout(timer);
    harmless(() => announce(session, stream, close));
  });
}

/**
 * For clients that use many at a time: they are told to begin no more, and when all that they began before they read that
 * has arrived, or the stream has ended, which ones are served. Those that are not may be repeated by the client.
 *
 * Without an open stream a session of Node does not take anything any more after the first.
 *
 * @see RFC 9113, section 6.8; nghttp2_session_want_read()
 */
function announce(session: ServerHttp2Session, stream: ServerHttp2Stream, close: () => void): void {
  stream.once('close', close);
  session.goaway(NO_ERROR, ANY_STREAM);
  // The client answers after it has read the first.
  session.ping(close);
}

const NO_ERROR = 0;
const ANY_STREAM = 2 ** 31 - 1;

/**
 * Tells the client which streams are served, and leaves it to the client to close once they have ended. A session of Node
 * that has sent or received a GOAWAY closes with its last stream, and without one it does not even read, so that it would
 * never know of the client's close.
 */
function letEnd(session: ServerHttp2Session, manner: Manner): void {
  const socket = socketOf(session);
  if (socket === undefined || openStreams(session) === undefined) {
    session.close();
    return;
  }
  session.goaway(NO_ERROR);
  session.close = () => undefined;
  endAfterFin(socket, manner);
  const close = (): void => {
    session.close = Object.getPrototypeOf(session).close;
    harmless(() => session.close());
  };
  let idleSinceMs: number | undefined;
  const look = setInterval(() => {
    const isOver = socket.destroyed || session.destroyed;
    if (!isOver && openStreams(session) !== 0) idleSinceMs = undefined;
    else idleSinceMs ??= performance.now();
    const isLate = idleSinceMs !== undefined && performance.now() - idleSinceMs >= manner.peerFirstMs;
    if (isOver || isLate) clearInterval(look);
    else readStart(socket);
    if (isOver || !isLate) return;
    if (manner.reset) resetOnceAcknowledged(socket, close);
    else close();
  }, LOOK_MS).unref();
}

/** About a round trip in a network of one place. */
const LOOK_MS = 5;

// What Node keeps undocumented. @see lib/internal/http2/core.js, the same in Node 20, 22 and 24

function socketOf(session: ServerHttp2Session): Connection | undefined {
  return keptBy<Connection>(session, 'socket');
}

function openStreams(session: ServerHttp2Session): number | undefined {
  return keptBy<{ readonly streams?: { readonly size: number } }>(session, 'state')?.streams?.size;
}

/** Those of a server that nobody has looked at before. Without Node 24, sessions above TLS come with their next stream. */
function sessionsOf(server: Server): readonly ServerHttp2Session[] {
  const kept = keptBy<ReadonlySet<ServerHttp2Session>>(server, 'sessions') ?? [];
  // The symbol for it is undefined where Node uses it.
  const bound = [...connectionsOf(server)].map(
    (connection) => (connection as { readonly undefined?: ServerHttp2Session }).undefined,
  );
  return [...new Set([...kept, ...bound])].filter((session) => session !== undefined);
}
