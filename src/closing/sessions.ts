import type { ServerHttp2Session, ServerHttp2Stream } from 'node:http2';
import type { Server } from 'node:net';
import { harmless } from './harmless.js';

const sessions = new Set<ServerHttp2Session>();

/** Undefined until the program leaves. */
let leavingQuietMs: number | undefined;

/** From now on the sessions of an HTTP/2 server are known. */
export function rememberSessions(server: Server): void {
  // Every server of HTTP/2 has this method, and no other.
  if (!('updateSettings' in server)) return;
  server.on('session', (session: ServerHttp2Session) => {
    sessions.add(session);
    session.once('close', () => sessions.delete(session));
    if (leavingQuietMs !== undefined) closeWithNext(session, leavingQuietMs);
  });
}

/** Closes all sessions, and those that come. Open streams are finished. */
export function closeSessions(quietMs: number): void {
  leavingQuietMs = quietMs;
  for (const session of sessions) closeWithNext(session, quietMs);
}

/**
 * Closes the session with its next stream, or when none has come: a client that uses one stream at a time has no other
 * on its way then, which the GOAWAY would refuse.
 */
function closeWithNext(session: ServerHttp2Session, quietMs: number): void {
  const close = (): void => harmless(() => session.close());
  const timer = setTimeout(close, quietMs).unref();
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
 * Without an open stream a session of Node does not read any more after the first.
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
