import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { errorCode, errorText, HoldfastError } from '../errors.js';
import { parseInetAddress } from '../kernel/sockaddr.js';
import { formatAddress, type InetAddress } from '../model/address.js';
import type { MetricsText } from './metrics.js';

/** Who asks for metrics is one, or a few. */
const CONNECTIONS_MAX = 64;
const TEXT = 'text/plain; charset=utf-8';

export interface MetricsHandlers {
  readonly metrics: () => Promise<MetricsText>;
  /** Whether the server serves, is not paused, and no stop is on; otherwise in which phase it is. */
  readonly readiness: () => { readonly ready: boolean; readonly phase: string };
}

export interface MetricsServer {
  close(): void;
}

/**
 * Answers GET /metrics and GET /ready at that address, and nothing else.
 *
 * @throws {HoldfastError} ERR_HOLDFAST_ADDRESS: no address, or not one of this machine. ERR_HOLDFAST_ADDRESS_TAKEN.
 */
export async function serveMetrics(text: string, handlers: MetricsHandlers): Promise<MetricsServer> {
  const address = parseMetricsAddress(text);
  const server = createServer((request, response) => void answer(request, response, handlers));
  server.maxConnections = CONNECTIONS_MAX;
  await new Promise<void>((resolve, reject) => {
    server
      .once('error', (error) => reject(explain(address, error)))
      .listen({ host: address.host, port: address.port, exclusive: true }, resolve);
  });
  return {
    close: () => {
      server.close();
      server.closeAllConnections();
    },
  };
}

async function answer(
  { method, url }: IncomingMessage,
  response: ServerResponse,
  { metrics, readiness }: MetricsHandlers,
): Promise<void> {
  const reply = (status: number, type: string, text: string): void => {
    response.writeHead(status, { 'content-type': type }).end(text);
  };
  const path = url?.split('?')[0];
  if (path !== '/metrics' && path !== '/ready') {
    reply(404, TEXT, 'there are /metrics and /ready\n');
  } else if (method !== 'GET' && method !== 'HEAD') {
    reply(405, TEXT, `there is GET ${path}\n`);
  } else if (path === '/ready') {
    const { ready, phase } = readiness();
    reply(ready ? 200 : 503, TEXT, ready ? 'ready\n' : `not ready: ${phase}\n`);
  } else {
    try {
      const { contentType, text } = await metrics();
      reply(200, contentType, text);
    } catch (error) {
      reply(500, TEXT, `${errorText(error)}\n`);
    }
  }
}

/** Host and port: a port alone would be bound somewhere that nobody has named. */
export function parseMetricsAddress(text: string): InetAddress {
  const address = /^\*?:?\d+$/.test(text) ? 'the host is missing' : parseInetAddress(text);
  const why = typeof address === 'string' ? address : address.port < 1 ? 'a port is from 1 to 65535' : '';
  if (typeof address !== 'string' && why === '') return address;
  const forms = 'the forms are 127.0.0.1:9469, [::1]:9469';
  throw new HoldfastError('ERR_HOLDFAST_ADDRESS', `--metrics ${text}: ${why}; ${forms}`);
}

function explain(address: InetAddress, error: unknown): HoldfastError {
  const where = formatAddress(address);
  switch (errorCode(error)) {
    case 'EADDRINUSE': {
      const text = `--metrics ${where} is taken; name another address, or see who has it: holdfast why ${where}`;
      return new HoldfastError('ERR_HOLDFAST_ADDRESS_TAKEN', text, error);
    }
    case 'EACCES':
      return new HoldfastError(
        'ERR_HOLDFAST_ADDRESS',
        `--metrics: not allowed to bind ${where}; choose a port from 1024 on`,
        error,
      );
    case 'EADDRNOTAVAIL':
    case 'EAFNOSUPPORT':
      return new HoldfastError(
        'ERR_HOLDFAST_ADDRESS',
        `--metrics: this machine has no address ${where}`,
        error,
      );
    default:
      return new HoldfastError('ERR_HOLDFAST_ADDRESS', `--metrics ${where}: ${errorText(error)}`, error);
  }
}
