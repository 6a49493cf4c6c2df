import { once } from 'node:events';
import type { FastifyReply } from 'fastify';
import { errorCode, errorText } from '../../errors.js';
import type { Problem } from './wire.js';

const KEEPALIVE_MS = 30_000;

/** What a request is answered with when it fails. */
export function problemOf(error: unknown): Problem {
  return { code: errorCode(error) ?? 'UNKNOWN', text: errorText(error) };
}

/** Aborted when the answer is complete, or nobody waits for it any more. */
export function goneSignal({ raw }: FastifyReply): AbortSignal {
  const gone = new AbortController();
  raw.once('close', () => gone.abort());
  // A machine that was suspended says no word.
  raw.socket?.setKeepAlive(true, KEEPALIVE_MS);
  return gone.signal;
}

/**
 * Answers with what comes, as server-sent events of one name, no faster than it is read, and with a `problem` at the end when
 * it fails.
 *
 * @see https://html.spec.whatwg.org/multipage/server-sent-events.html
 */
export async function sendEvents(
  { raw }: FastifyReply,
  name: string,
  events: AsyncIterable<unknown>,
  gone: AbortSignal,
): Promise<void> {
  const send = async (event: string, data: unknown): Promise<void> => {
    if (raw.write(`event: ${event}\ndata: ${JSON.stringify(data)}\n\n`)) return;
    await once(raw, 'drain', { signal: gone });
  };
  try {
    for await (const event of events) {
      if (gone.aborted) return;
      await send(name, event);
    }
  } catch (error) {
    if (!gone.aborted) await send('problem', problemOf(error)).catch(() => undefined); // it has gone now
  } finally {
    raw.end();
  }
}
