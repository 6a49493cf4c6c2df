import { chmodSync, rmSync } from 'node:fs';
import { createServer, request as httpRequest } from 'node:http';
import { errorCode, errorText, HoldfastError } from '../errors.js';
import type { KeeperState } from './state.js';

/** What a keeper does for those who ask at its control socket. */
export interface ControlHandlers {
  readonly status: () => KeeperState;
  /** Begins the stop. */
  readonly stop: () => void;
}

export interface ControlServer {
  close(): void;
}

/** Answers HTTP on a unix socket that only this user can reach: GET /status, POST /stop. */
export async function serveControl(path: string, handlers: ControlHandlers): Promise<ControlServer> {
  // The name's lock is ours, so a file that is left here belongs to a keeper that was killed.
  rmSync(path, { force: true });
  const server = createServer((request, response) => {
    const { status, body, afterwards } = route(`${request.method} ${request.url}`, handlers);
    response
      .writeHead(status, { 'content-type': 'application/json' })
      .end(`${JSON.stringify(body)}\n`, afterwards);
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject).listen(path, () => resolve());
  });
  // To connect takes the right to write.
  chmodSync(path, 0o600);
  return {
    close: () => {
      server.close();
      server.closeAllConnections();
    },
  };
}

/** `afterwards` runs when the answer has been written: a stop may close the connection at once. */
function route(
  request: string,
  handlers: ControlHandlers,
): { status: number; body: unknown; afterwards?: () => void } {
  switch (request) {
    case 'GET /status':
      return { status: 200, body: handlers.status() };
    case 'POST /stop':
      return { status: 202, body: {}, afterwards: () => setImmediate(handlers.stop) };
    default:
      return { status: 404, body: { error: `there is no ${request}; there are GET /status and POST /stop` } };
  }
}

/**
 * Asks a keeper at its control socket.
 *
 * @throws {HoldfastError} ERR_HOLDFAST_NOT_RUNNING: nobody answers there. ERR_HOLDFAST_CONTROL: it said no.
 */
export async function askKeeper(socketPath: string, method: 'GET' | 'POST', path: string): Promise<unknown> {
  const { status, text } = await exchange(socketPath, method, path);
  if (status >= 400) throw new HoldfastError('ERR_HOLDFAST_CONTROL', `${method} ${path}: ${text.trim()}`);
  return JSON.parse(text);
}

function exchange(
  socketPath: string,
  method: string,
  path: string,
): Promise<{ status: number; text: string }> {
  return new Promise((resolve, reject) => {
    const request = httpRequest({ socketPath, method, path, timeout: 5_000 }, (response) => {
      let text = '';
      response.setEncoding('utf8');
      response.on('data', (chunk: string) => {
        text += chunk;
      });
      response.on('end', () => resolve({ status: response.statusCode ?? 0, text }));
    });
    request
      .on('timeout', () => {
        request.destroy(new HoldfastError('ERR_HOLDFAST_CONTROL', `${socketPath} does not answer`));
      })
      .on('error', (error) => {
        const gone = errorCode(error) === 'ENOENT' || errorCode(error) === 'ECONNREFUSED';
        reject(gone ? new HoldfastError('ERR_HOLDFAST_NOT_RUNNING', errorText(error), error) : error);
      })
      .end();
  });
}
