import { readFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { hostname, release } from 'node:os';
import { fileURLToPath } from 'node:url';
import Fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify';
import { HoldfastError } from '../../errors.js';
import { userName } from '../../kernel/users.js';
import { version } from '../../version.js';
import type { KeeperSource, Sampler } from '../sampler.js';
import type { WatchFilter, WatchUpdate } from '../view.js';
import { checkWatch } from '../watch.js';
import { goneSignal, problemOf, sendEvents } from './event-stream.js';
import { Gate, type Visit } from './gate.js';
import type { KeeperAction, PageParts } from './parts.js';
import type { About } from './wire.js';

export interface WebOptions {
  /** An IP address. */
  readonly host: string;
  /** 0: the kernel chooses. */
  readonly port: number;
  /** Whether browsers of other machines may come. */
  readonly allowRemote: boolean;
  readonly sampler: Sampler;
  /** Of the sampler. */
  readonly keepers: KeeperSource;
  readonly parts: PageParts;
}

export interface WebServer {
  /** Another address that can be opened once, and shows what the filter lets through. */
  url(filter: WatchFilter): string;
  close(): Promise<void>;
}

const BODY_MAX = 4_096;

const HEADERS = {
  'content-security-policy': [
    ...["default-src 'none'", "script-src 'self'", "style-src 'self'", "img-src 'self' data:"],
    ...["connect-src 'self'", "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"],
  ].join('; '),
  'referrer-policy': 'no-referrer',
  'x-content-type-options': 'nosniff',
  'cross-origin-resource-policy': 'same-origin',
  'cross-origin-opener-policy': 'same-origin',
  'cache-control': 'no-store',
};

/** Built from web/. */
const FILES = [
  ['/', 'index.html', 'text/html; charset=utf-8'],
  ['/page.js', 'page.js', 'text/javascript; charset=utf-8'],
  ['/page.css', 'page.css', 'text/css; charset=utf-8'],
  ['/icon.svg', 'icon.svg', 'image/svg+xml'],
] as const;
const FOLDER = new URL('../../web/', import.meta.url);

const REFUSED = 'Open the address that holdfast watch --web has printed; it can be opened once.\n';

/**
 * Serves the page, to who comes with a token first.
 *
 * @throws {Error} EADDRINUSE, EADDRNOTAVAIL, EACCES: of listen.
 */
export async function servePage({ host, port, ...options }: WebOptions): Promise<WebServer> {
  const app = Fastify({
    ...{ bodyLimit: BODY_MAX, forceCloseConnections: true, exposeHeadRoutes: false },
    // A path that is none is refused before there is a hook.
    frameworkErrors: (_error, _request, reply) => refuse(reply.headers(HEADERS)),
  });
  const { allowRemote } = options;
  const gate = new Gate({ names: allowRemote ? [hostname()] : [], anyAddress: allowRemote });
  describe(app, options, gate);
  await app.listen({ host, port });
  const bound = app.server.address() as AddressInfo;
  const name = host === '0.0.0.0' || host === '::' ? hostname() : host.includes(':') ? `[${host}]` : host;
  return {
    url: (filter) => `http://${name}:${bound.port}/?${queryOf({ token: gate.issue(), ...filter })}`,
    close: () => app.close(),
  };
}

function describe(
  app: FastifyInstance,
  { sampler, keepers, parts }: Omit<WebOptions, 'host' | 'port'>,
  gate: Gate,
): void {
  // A page of another origin may post text without being asked first.
  app.removeContentTypeParser('text/plain');
  app.addHook('onRequest', async (request, reply) => {
    reply.headers(HEADERS);
    const { token } = request.query as { readonly token?: unknown };
    const visit = visitOf(request);
    if (request.url.startsWith('/?') && request.method === 'GET' && typeof token === 'string') {
      const cookies = gate.isAddressed(visit) ? gate.admit(token, visit) : undefined;
      if (cookies === undefined) return refuse(reply);
      return reply
        .header('set-cookie', [...cookies])
        .type('text/html; charset=utf-8')
        .send(admittedTo(request.query as Query));
    }
    if (!gate.isAdmitted(visit)) return refuse(reply);
  });
  app.setErrorHandler((error, _request, reply) => {
    return reply.code(statusOf(error)).send(problemOf(error));
  });
  app.setNotFoundHandler((request, reply) => {
    const text = `there is no ${request.method} ${request.url}`;
    return reply.code(404).send({ code: 'ERR_HOLDFAST_OPTION', text });
  });
  for (const [path, file, type] of FILES) {
    const content = readFileSync(fileURLToPath(new URL(file, FOLDER)));
    app.get(path, (_request, reply) => reply.type(type).send(content));
  }
  describeQuestions(app, { sampler, keepers, parts });
  describeActions(app, parts);
}

function statusOf(error: unknown): number {
  if (!(error instanceof HoldfastError)) {
    const { statusCode = 500 } = error as { readonly statusCode?: number };
    return statusCode;
  }
  switch (error.code) {
    case 'ERR_HOLDFAST_ADDRESS':
    case 'ERR_HOLDFAST_NAME':
    case 'ERR_HOLDFAST_OPTION':
      return 400;
    case 'ERR_HOLDFAST_NOT_RUNNING':
      return 404;
    default:
      return 409;
  }
}

function refuse(reply: FastifyReply): FastifyReply {
  return reply.code(403).type('text/plain; charset=utf-8').send(REFUSED);
}

/** Leads on to the page, by a navigation of its own: after a redirect from elsewhere a browser withholds the cookie. */
function admittedTo(query: Query): string {
  const filter = queryOf({ ...filterOf(query) });
  const url = filter === '' ? '/' : `/#${filter}`;
  return `<!doctype html><meta charset="utf-8"><link rel="icon" href="data:,"><meta http-equiv="refresh" content="0;url=${url}"><title>holdfast</title>`;
}

/** Without what is undefined, and with nothing that HTML would take for its own. */
function queryOf(values: Readonly<Record<string, string | number | undefined>>): string {
  const given = Object.entries(values).flatMap(([name, value]) =>
    value === undefined ? [] : [[name, `${value}`] as [string, string]],
  );
  return new URLSearchParams(given).toString();
}

function visitOf({ method, headers }: FastifyRequest): Visit {
  const { host, origin, cookie } = headers;
  const site = headers['sec-fetch-site'];
  return { method, host, origin, cookie, site: Array.isArray(site) ? site.join() : site };
}

/** What changes nothing. */
function describeQuestions(
  app: FastifyInstance,
  { sampler, keepers, parts }: Pick<WebOptions, 'sampler' | 'keepers' | 'parts'>,
): void {
  const uid = process.getuid?.() ?? 0;
  const about: About = {
    ...{ version, hostname: hostname(), user: userName(uid) ?? `${uid}`, kernel: release() },
    intervalMs: sampler.intervalMs,
  };
  app.get('/api/about', () => about);
  app.get('/api/updates', (request, reply) => {
    const filter = filterOf(request.query as Query);
    checkWatch(filter, keepers);
    const gone = goneSignal(reply);
    streamTo(reply);
    return sendEvents(reply, 'update', updatesOf(sampler, filter, gone), gone);
  });
  app.get('/api/why', ({ query }) => {
    const { target = '', udp } = query as Query;
    return parts.why(target, udp === '1' ? 'udp' : 'tcp');
  });
  app.get('/api/scenarios', () => parts.scenarios());
  app.get('/api/keepers/:name/output', (request, reply) => {
    const { name = '' } = request.params as Query;
    const gone = goneSignal(reply);
    const output = parts.output(name, gone);
    streamTo(reply);
    return sendEvents(reply, 'output', textOf(output), gone);
  });
}

function describeActions(app: FastifyInstance, parts: PageParts): void {
  let played: string | undefined;
  app.post('/api/scenarios/:id/run', async (request, reply) => {
    const { id = '' } = request.params as Query;
    if (played !== undefined)
      throw new HoldfastError('ERR_HOLDFAST_LAB', `${played} is being played; one at a time`);
    played = id;
    try {
      return await parts.playScenario(id, goneSignal(reply));
    } finally {
      played = undefined;
    }
  });
  for (const action of ['reload', 'restart', 'scale'] as const) {
    app.post(`/api/keepers/:name/${action}`, (request) => {
      const { name = '' } = request.params as Query;
      return parts.act(name, action === 'scale' ? scaling(request.body) : { do: action });
    });
  }
}

type Query = Readonly<Record<string, string | undefined>>;

function scaling(body: unknown): KeeperAction {
  const { workers } = Object(body) as { readonly workers?: unknown };
  if (typeof workers === 'number') return { do: 'scale', workers };
  throw new HoldfastError('ERR_HOLDFAST_OPTION', 'workers is a number');
}

/** From here on the answer is written to the connection itself. */
function streamTo(reply: FastifyReply): void {
  reply.hijack();
  const headers = { ...HEADERS, 'content-type': 'text/event-stream; charset=utf-8' };
  reply.raw.writeHead(200, headers).flushHeaders();
}

/** @throws {HoldfastError} ERR_HOLDFAST_OPTION */
function filterOf({ port, pid, keeper }: Query): WatchFilter {
  return { port: numberOf('port', port), pid: numberOf('pid', pid), keeper: keeper || undefined };
}

function numberOf(name: string, text = ''): number | undefined {
  if (text === '') return undefined;
  if (/^\d{1,10}$/.test(text)) return Number(text);
  throw new HoldfastError('ERR_HOLDFAST_OPTION', `${name} is a number, not "${text}"`);
}

async function* updatesOf(
  sampler: Sampler,
  filter: WatchFilter,
  gone: AbortSignal,
): AsyncGenerator<WatchUpdate> {
  const viewer = sampler.view(filter);
  const leave = (): void => viewer.close();
  gone.addEventListener('abort', leave);
  try {
    for (;;) {
      const update = await viewer.next();
      if (update === undefined) return;
      yield update;
    }
  } finally {
    gone.removeEventListener('abort', leave);
    viewer.close();
  }
}

/** Characters may lie across two pieces. */
async function* textOf(pieces: AsyncIterable<Buffer>): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  for await (const piece of pieces) yield decoder.decode(piece, { stream: true });
}
