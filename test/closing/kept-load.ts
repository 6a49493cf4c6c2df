import { setTimeout as sleep } from 'node:timers/promises';
import { Client } from './client.js';

export interface KeptLoadOptions {
  readonly port: number;
  readonly clients: number;
  /** Each client pauses at most so long after an answer, at random. */
  readonly pauseMs: number;
  readonly tls?: boolean;
}

export interface KeptLoadResult {
  readonly requests: number;
  /** Why a request got no answer. */
  readonly failures: readonly string[];
  /** Answers that said `Connection: close`. */
  readonly told: number;
  /** Connections that the server closed while the client paused. */
  readonly closedIdle: number;
  readonly pids: ReadonlySet<string>;
}

export interface KeptLoad {
  /** So far. */
  readonly requests: number;
  stop(): Promise<KeptLoadResult>;
}

/**
 * Clients that keep their connections, each with one request at a time. A request that fails is not repeated; a client
 * that is told to close, or finds its connection closed after a pause, opens another one.
 */
export function startKeptLoad({ port, clients, pauseMs, tls = false }: KeptLoadOptions): KeptLoad {
  const result = { requests: 0, failures: [] as string[], told: 0, closedIdle: 0, pids: new Set<string>() };
  let isStopped = false;

  const keepAsking = async (): Promise<void> => {
    let client: Client | undefined;
    while (!isStopped) {
      try {
        client ??= await Client.connect(port, { tls });
        const { headers, body } = await client.request();
        result.requests++;
        result.pids.add(/^pid (\d+)/.exec(body)?.[1] ?? body);
        if (headers.connection === 'close') {
          result.told++;
          client.close();
          client = undefined;
        }
      } catch (error) {
        result.failures.push(String(error));
        client?.close();
        client = undefined;
      }
      await sleep(Math.random() * pauseMs);
      if (client?.isEnded) {
        result.closedIdle++;
        client.close();
        client = undefined;
      }
    }
    client?.close();
  };

  const running = Array.from({ length: clients }, keepAsking);
  return {
    get requests() {
      return result.requests;
    },
    stop: async () => {
      isStopped = true;
      await Promise.all(running);
      return result;
    },
  };
}
