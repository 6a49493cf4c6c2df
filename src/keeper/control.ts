import { chmodSync, rmSync } from 'node:fs';
import { createServer, request as httpRequest, type IncomingMessage, type ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { errorCode, errorText, HoldfastError } from '../errors.js';
import { peerUser } from '../kernel/socket.js';
import type { EventLog } from './event-log.js';
import type { MetricsText } from './metrics.js';
import type { ReloadOptions, ReloadOutcome } from './reload.js';
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
  /** Whether it may end now, and nothing else with it; gives what does that. @throws {HoldfastError} ERR_HOLDFAST_CONTROL */
  readonly leave: () => () => void;
  readonly events: EventLog;
  readonly metrics: () => Promise<MetricsText>;
}

export interface ControlServer {
  close(): void;
}

/** Answers HTTP on a unix socket, to this user and to root alone, at PATHS. */
export async function serveControl(path: string, handlers: ControlHandlers): Promise<ControlServer> {
  // The name's lock is ours, so a file that is left here belongs to a keeper that was killed.
  rmSync(path, { force: true });
  const server = createServer(async (request, response) => {
    const asked = `${request.method} ${request.url}`;
    const stranger = strangerAmong(request);
    if (stranger !== undefined) send(response, forbidden(stranger));
    else if (asked === FOLLOW) follow(response, handlers.events);
    else send(response, await answer(asked, handlers));
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
  /** Sent as JSON, unless it is text of that type. */
  readonly body: unknown;
  readonly contentType?: string;
  readonly afterwards?: () => void;
}

const FOLLOW = 'GET /events?follow';
const PATHS =
  'GET /status, /events, /events?follow and /metrics, POST /reload, /restart, /rollback, /scale, /unpark, /pause, /resume, /release, /take, /stop and /leave';

function send(response: ServerResponse, { status, body, contentType, afterwards }: Reply): void {
  response
    .writeHead(status, { 'content-type': contentType ?? 'application/json' })
    .end(contentType === undefined ? `${JSON.stringify(body)}\n` : body, afterwards);
}

/** Every event from now on, and those that are remembered, until one of both ends has gone. */
function follow(response: ServerResponse, events: EventLog): void {
  response.writeHead(200, { 'content-type': 'application/x-ndjson' });
  response.flushHeaders();
  events.follow(response);
}

/**
 * The number of the user who asks, when he is neither we nor root; 'unknown' when the connection is gone already. The
 * mode of the socket's file keeps others out, as long as nobody changes it.
 */
function strangerAmong({ socket }: IncomingMessage): number | 'unknown' | undefined {
  // Node has no other way to the fd of a socket.
  const fd = (socket as Socket & { readonly _handle?: { readonly fd: number } | null })._handle?.fd;
  if (fd === undefined || fd < 0) return 'unknown';
  const uid = peerUser(fd);
  return uid === 0 || uid === process.geteuid?.() ? undefined : uid;
}

function forbidden(uid: number | 'unknown'): Reply {
  const error = `only root and user ${process.geteuid?.()} may ask this keeper, not user ${uid}`;
  return { status: 403, body: { code: 'ERR_HOLDFAST_CONTROL', error } };
}

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
    case 'GET /events':
      return { status: 200, body: handlers.events.recent() };
    case 'GET /metrics': {
      const { contentType, text } = await handlers.metrics();
      return { status: 200, body: text, contentType };
    }
    case 'POST /reload':
      return {
        status: 200,
        body: await handlers.reload({ newAddresses: new URLSearchParams(query).has('new-addresses') }),
      };
    case 'POST /restart':
      return { status: 200, body: await handlers.reload({ restart: true }) };
    case 'POST /scale':
      return { status: 200, body: await handlers.scale(numberOf(query, 'workers')) };
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
    case 'POST /leave': {
      const leave = handlers.leave();
      return { status: 202, body: {}, afterwards: () => setImmediate(leave) };
    }
    default:
      return { status: 404, body: { error: `there is no ${path}; there are ${PATHS}` } };
  }
}

/** @throws {HoldfastError} ERR_HOLDFAST_OPTION: it is not there, or is no whole number. */
function numberOf(query: string, name: string): number {
  const text = new URLSearchParams(query).get(name);
  if (text !== null && /^\d{1,9}$/.test(text)) return Number(text);
  const found = text === null ? 'it is not there' : `"${text}" is none`;
  throw new HoldfastError('ERR_HOLDFAST_OPTION', `?${name}= is a whole number; ${found}`);
}

/**
 * Asks a keeper at its control socket. `timeoutMs` 0: however long it takes. `signal` ends the wait.
 *
 * @throws {HoldfastError} ERR_HOLDFAST_NOT_RUNNING: nobody answers there. ERR_HOLDFAST_KEEPER_ENDED: it ended before it
 *   answered. ERR_HOLDFAST_CONTROL: it said no.
 */
export async function askKeeper(
  socketPath: string,
  method: 'GET' | 'POST',
  path: string,
  timeoutMs: number = ANSWER_MS,
  signal?: AbortSignal,
): Promise<unknown> {
  const { status, text } = await exchange({ socketPath, method, path, timeout: timeoutMs, signal });
  if (status >= 400) throw refusal(`${method} ${path}`, text);
  return JSON.parse(text);
}

/** What the keeper says itself is told as it is; of anything else it is told what was asked. */
function refusal(asked: string, text: string): HoldfastError {
  try {
    const said: unknown = JSON.parse(text);
    const { code, error } = Object(said) as { readonly code?: unknown; readonly error?: unknown };
    if (code === 'ERR_HOLDFAST_CONTROL' && typeof error === 'string') return new HoldfastError(code, error);
  } catch {
    // It is no JSON: another program may answer there.
  }
  return new HoldfastError('ERR_HOLDFAST_CONTROL', `${asked}: ${text.trim()}`);
}

/**
 * The lines of an answer that goes on, as they come, until the keeper ends.
 *
 * @throws {HoldfastError} as `askKeeper`.
 * @throws {DOMException} AbortError: by `signal`.
 */
export async function* followKeeper(
  socketPath: string,
  path: string,
  signal?: AbortSignal,
): AsyncGenerator<string> {
  const response = await new Promise<IncomingMessage>((resolve, reject) => {
    httpRequest({ socketPath, path, ...(signal && { signal }) }, resolve)
      .on('error', (error) => reject(goneOr(error)))
      .end();
  });
  response.setEncoding('utf8');
  let rest = '';
  try {
    for await (const chunk of response as AsyncIterable<string>) {
      const lines = (rest + chunk).split('\n');
      rest = lines.pop() ?? '';
      if (response.statusCode === 200) yield* lines;
      else throw new HoldfastError('ERR_HOLDFAST_CONTROL', `GET ${path}: ${chunk.trim()}`);
    }
  } catch (error) {
    throw goneOr(error instanceof Error ? error : new Error(String(error)));
  }
}

function exchange(asked: {
  readonly socketPath: string;
  readonly method: string;
  readonly path: string;
  readonly timeout: number;
  readonly signal: AbortSignal | undefined;
}): Promise<{ status: number; text: string }> {
  const { socketPath, signal, ...rest } = asked;
  return new Promise((resolve, reject) => {
    const request = httpRequest({ ...rest, socketPath, ...(signal && { signal }) }, (response) => {
      let text = '';
      response.setEncoding('utf8');
      response.on('data', (chunk: string) => {
        text += chunk;
      });
      response.on('error', (error) => reject(goneOr(error)));
      response.on('end', () => resolve({ status: response.statusCode ?? 0, text }));
    });
    request
      .on('timeout', () => {
        request.destroy(new HoldfastError('ERR_HOLDFAST_CONTROL', `${socketPath} does not answer`));
      })
      .on('error', (error) => reject(goneOr(error)))
      .end();
  });
}

/** That nobody answers there, or not any more, is a failure of its own. */
function goneOr(error: Error): Error {
  switch (errorCode(error)) {
    case 'ENOENT':
    case 'ECONNREFUSED':
      return new HoldfastError('ERR_HOLDFAST_NOT_RUNNING', errorText(error), error);
    case 'ECONNRESET':
    case 'EPIPE':
      return new HoldfastError('ERR_HOLDFAST_KEEPER_ENDED', 'the keeper ended before it answered', error);
    default:
      return error;
  }
}
