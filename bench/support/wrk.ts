import { pathOf } from './plain.js';
import { run } from './process.js';

export interface WrkOptions {
  readonly port: number;
  readonly seconds: number;
  readonly connections: number;
  /** `false`: each request says `Connection: close` and gets a connection of its own. */
  readonly keepAlive: boolean;
}

export interface WrkResult {
  readonly requests: number;
  readonly perSecond: number;
  /** Connections that failed and answers with another status than 2xx or 3xx. */
  readonly errors: number;
}

/** As many requests as one thread of wrk gets answered. */
export async function wrk({ port, seconds, connections, keepAlive }: WrkOptions): Promise<WrkResult> {
  const header = keepAlive ? [] : ['--header', 'Connection: close'];
  const size = ['--threads', '1', '--connections', `${connections}`, '--duration', `${seconds}s`];
  const text = await run([pathOf('wrk'), ...size, ...header, `http://127.0.0.1:${port}/`], {
    timeoutMs: (seconds + 20) * 1_000,
  });
  const number = (pattern: RegExp): number | undefined => {
    const found = pattern.exec(text)?.[1];
    return found === undefined ? undefined : Number(found);
  };
  const requests = number(/^ +(\d+) requests in/m);
  const perSecond = number(/^Requests\/sec: +([\d.]+)/m);
  if (requests === undefined || perSecond === undefined) throw new Error(`wrk says nothing known:\n${text}`);
  const [, ...socketErrors] =
    /Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)/.exec(text) ?? [];
  const badAnswers = number(/Non-2xx or 3xx responses: (\d+)/) ?? 0;
  return {
    requests,
    perSecond,
    errors: socketErrors.reduce((sum, count) => sum + Number(count), badAnswers),
  };
}
