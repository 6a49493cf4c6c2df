import { type ConnectionHistory, judge, observe, type Quiet } from '../model/drain.js';
import { type Connection, carrierOf, isTls } from './connection.js';
import { isEnding } from './hang-up.js';
import { harmless } from './harmless.js';
import type { Manner } from './manner.js';
import { keepReading } from './peer-closes.js';
import { resetOnceAcknowledged } from './reset.js';
import { hasSession } from './sessions.js';
import { endAfterFin } from './tls-end.js';
import { type Traffic, trafficOf } from './traffic.js';

const LOOK_MS = 50;

/** What the looks at a connection have told: Node's counts, and the kernel's. */
interface Histories {
  readonly counted: ConnectionHistory;
  readonly told: ConnectionHistory | undefined;
}

/**
 * Closes connections of other protocols than HTTP, upgraded ones among them, when nothing is owed on them: the last that
 * went over them was ours, all of it has been acknowledged, and the peer has had its time to close first. One on which the
 * peer spoke last waits for its answer.
 *
 * @param open the server's connections, as they come and go.
 * @returns what ends that.
 */
export function closeWhenAnswered(
  open: ReadonlySet<Connection>,
  port: number | undefined,
  manner: Manner,
): () => void {
  let known = new Map<Connection, Histories>();
  let isOver = false;
  const ended = new WeakSet<Connection>();
  const look = async (): Promise<void> => {
    const raw = [...open].filter((connection) => isRaw(connection) && !ended.has(connection));
    const traffic = raw.length === 0 ? [] : await trafficOf(raw, port);
    if (isOver) return;
    const nowMs = performance.now();
    const before = known;
    known = new Map();
    for (const [connection, seen] of traffic) {
      endAfterFin(carrierOf(connection), manner);
      const histories = observeBoth(before.get(connection), seen, nowMs);
      known.set(connection, histories);
      if (!isIdle(histories, nowMs, quietFor(connection, manner))) continue;
      ended.add(connection);
      harmless(() => end(carrierOf(connection), manner));
    }
    setTimeout(() => void look(), LOOK_MS).unref();
  };
  void look();
  return () => {
    isOver = true;
  };
}

function isRaw(connection: Connection): boolean {
  const carrier = carrierOf(connection);
  return !carrier.destroyed && !carrier.parser && !isEnding(carrier) && !hasSession(carrier);
}

function observeBoth(before: Histories | undefined, { counted, told }: Traffic, atMs: number): Histories {
  return {
    counted: observe(before?.counted, counted, atMs),
    told: told && observe(before?.told, told, atMs),
  };
}

function isIdle({ counted, told }: Histories, nowMs: number, quiet: Quiet): boolean {
  return [counted, told].every(
    (history) => history === undefined || judge(history, nowMs, quiet).type === 'idle',
  );
}

function quietFor(connection: Connection, { peerFirstMs }: Manner): Quiet {
  // What TLS carries is not seen of a connection that was there before anybody looked: the end of its handshake may have
  // brought a request along.
  const isHidden = isTls(connection.server) && carrierOf(connection) === connection;
  return { quietMs: peerFirstMs, unclearQuietMs: isHidden ? peerFirstMs * HIDDEN : peerFirstMs };
}

/** How much longer is waited then. */
const HIDDEN = 10;

function end(connection: Connection, { reset }: Manner): void {
  const close = (): void => {
    connection.end();
    keepReading(connection);
  };
  if (reset) resetOnceAcknowledged(connection, close);
  else close();
}
