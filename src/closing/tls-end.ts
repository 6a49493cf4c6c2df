import { setTimeout as sleep } from 'node:timers/promises';
import { TCP_STATES } from '../model/tcp-state.js';
import type { Connection } from './connection.js';
import { type Kernel, loadKernel } from './kernel.js';
import type { Manner } from './manner.js';

/** A peer of TLS sends its FIN right after its close_notify. Where the system does not tell, it is taken to have come then. */
const FIN_MS = 50;
/** Busy peers take that long between the two, whatever time they are given to close. */
const PATIENCE_MS = 500;
const LOOK_MS = 5;

const delayed = new WeakSet<Connection>();

/**
 * From now on our end of a TLS connection waits for the peer's FIN, when its stream has ended. TLS ends the stream with
 * close_notify, and to end then, as Node does, would most often mean to be the first that sends a FIN. A peer that waits
 * for our close_notify before is waited for as long as any other.
 */
export function endAfterFin(connection: Connection, { peerFirstMs }: Manner): void {
  if (!('encrypted' in connection) || delayed.has(connection)) return;
  delayed.add(connection);
  const { end, allowHalfOpen } = connection;
  connection.allowHalfOpen = true;
  connection.end = (...args: unknown[]) => {
    const endNow = (): unknown => Reflect.apply(end, connection, args);
    if (connection._readableState.ended)
      void whenFinCame(connection, Math.max(PATIENCE_MS, peerFirstMs)).then(endNow);
    else endNow();
    return connection;
  };
  if (!allowHalfOpen) connection.once('end', () => connection.end());
}

async function whenFinCame(connection: Connection, mostMs: number): Promise<void> {
  const kernel = await loadKernel();
  if (kernel === undefined) await sleep(FIN_MS);
  const untilMs = performance.now() + (kernel === undefined ? 0 : mostMs);
  while (!hasCome(kernel, connection) && performance.now() < untilMs) await sleep(LOOK_MS);
}

function hasCome(kernel: Kernel | undefined, { _handle: handle }: Connection): boolean {
  try {
    return kernel === undefined || kernel.tcpState(handle?.fd ?? -1) !== TCP_STATES.ESTABLISHED;
  } catch {
    return true; // EBADF: it is closed
  }
}
