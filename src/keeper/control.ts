import { chmodSync, rmSync } from 'node:fs';
import { createServer, request as httpRequest } from 'node:http';
import { errorCode, errorText, HoldfastError } from '../errors.js';
import type { ReloadOptions, ReloadOutcome } from './generations.js';
import type { KeeperState } from './state.js';

/** How long a keeper may take to answer what needs no time. */
const ANSWER_MS = 5_000;

/** What a keeper does for those who ask at its control socket. */
export interface ControlHandlers {
  readonly status: () => KeeperState;
  readonly reload: (options: ReloadOptions) => Promise<ReloadOutcome>;
  readonly scale: (workers: number) => Promise<ReloadOutcome>;
  /** False when no standby waits. */
  readonly unpark: () => boolean;
  /** Begins the stop. */
  readonly stop: () => void;
  readonly rollback: () => Promise<ReloadOutcome>;
  readonly pause: () => void;
  readonly resume: () => void;
  readonly release: () => Promise<ReloadOutcome>;
  readonly take: () => Promise<ReloadOutcome>;
  /** Ends the keeper and nothing else, for one that takes over. */
  readonly leave: () => void;
}

export interface ControlServer {
  close(): void;
}

/** Answers HTTP on a unix socket that only this user can reach, at PATHS. */
export async function serveControl(path: string, handlers: ControlHandlers): Promise<ControlServer> {
  // The name's lock is ours, so a file that is left here belongs to a keeper that was killed.
  rmSync(path, { force: true });
  const server = createServer(async (request, response) => {
    const { status, body, afterwards } = await answer(`${request.method} ${request.url}`, handlers);
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

interface Reply {
  readonly status: number;
  readonly body: unknown;
  readonly afterwards?: () => void;
}

const PATHS =
  'GET /status, POST /reload, /restart, /rollback, /scale, /unpark, /pause, /resume, /release, /take, /stop and /leave';

/** A wrong request is told, and harms nobody. */
async function answer(request: string, handlers: ControlHandlers): Promise<Reply> {
  try {
    return await route(request, handlers);
  } catch (error) {
    return { status: 400, body: { code: errorCode(error), error: errorText(error) } };
  }
}

/** `afterwards` runs when the answer has been written: a stop may close the connection at once. */
async function route(request: string, handlers: ControlHandlers): Promise<Reply> {
  const [path = '', query = ''] = request.split('?');
  switch (path) {
    case 'GET /status':
      return { status: 200, body: handlers.status() };
    case 'POST /reload':
      return {
        status: 200,
        body: await handlers.reload({ newAddresses: new URLSearchParams(query).has('new-addresses') }),
      };
    case 'POST /restart':
      return { status: 200, body: await handlers.reload({ restart: true }) };
    case 'POST /scale':
      return { status: 200, body: await handlers.scale(Number(new URLSearchParams(query).get('workers'))) };
    case 'POST /unpark':
      return { status: 200, body: { ok: handlers.unpark() } };
    case 'POST /stop':
      return { status: 202, body: {}, afterwards: () => setImmediate(handlers.stop) };
    case 'POST /rollback':
      return { status: 200, body: await handlers.rollback() };
    case 'POST /pause':
      handlers.pause();
      return { status: 200, body: {} };
    case 'POST /resume':
      handlers.resume();
      return { status: 200, body: {} };
    case 'POST /release':
      return { status: 200, body: await handlers.release() };
    case 'POST /take':
      return { status: 200, body: await handlers.take() };
    case 'POST /leave':
      return { status: 202, body: {}, afterwards: () => setImmediate(handlers.leave) };
    default:
      return { status: 404, body: { error: `there is no ${path}; there are ${PATHS}` } };
  }
}

/**
 * Asks a keeper at its control socket. `timeoutMs` 0: however long it takes.
 *
 * @throws {HoldfastError} ERR_HOLDFAST_NOT_RUNNING: nobody answers there. ERR_HOLDFAST_CONTROL: it said no.
 */
export async function askKeeper(
  socketPath: string,
  method: 'GET' | 'POST',
  path: string,
  timeoutMs: number = ANSWER_MS,
): Promise<unknown> {
  const { status, text } = await exchange(socketPath, method, path, timeoutMs);
  if (status >= 400) throw new HoldfastError('ERR_HOLDFAST_CONTROL', `${method} ${path}: ${text.trim()}`);
  return JSON.parse(text);
}

function exchange(
  socketPath: string,
  method: string,
  path: string,
  timeout: number,
): Promise<{ status: number; text: string }> {
  return new Promise((resolve, reject) => {
    const request = httpRequest({ socketPath, method, path, timeout }, (response) => {
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
