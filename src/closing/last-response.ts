import type { OutgoingHttpHeader, ServerResponse } from 'node:http';
import type { Connection } from './connection.js';
import { awaitHangUp, hangUp, letHangUp } from './hang-up.js';
import { harmless } from './harmless.js';
import { type Manner, mannerOf } from './manner.js';
import { endAfterFin } from './tls-end.js';

/** The headers as `writeHead` was given them, or as Node keeps those that were set one by one. */
type Headers = Readonly<Record<string, unknown>> | readonly unknown[] | undefined;

/** What Node keeps on a response, undocumented. @see lib/_http_outgoing.js, the same in Node 20, 22 and 24 */
interface Storing {
  _storeHeader(firstLine: string, headers: Headers): void;
  /** The connection ends after it. */
  readonly _last: boolean;
  readonly _hasBody: boolean;
  /** All that goes before the body, once it is stored. */
  readonly _header: string | null;
}

let isPatched = false;

/**
 * From now on HTTP/1 responses end their connections as their server's manner says. Of one that leaves, every response
 * whose headers have not been sent says `Connection: close`, also where the program says something else.
 *
 * All responses pass Node's `_storeHeader`, those too that were begun before. Servers without a manner are as ever.
 */
export function followManners(): void {
  if (isPatched) return;
  isPatched = true;
  const prototype = process.getBuiltinModule('node:http').ServerResponse.prototype as unknown as Storing;
  const { _storeHeader: store } = prototype;
  prototype._storeHeader = function (firstLine, headers) {
    const response = this as unknown as ServerResponse & Storing;
    const manner = mannerOf((response.req?.socket as Connection | undefined)?.server);
    const { shouldKeepAlive } = response;
    let told = headers;
    harmless(() => {
      if (manner?.isLeaving && isLast(response)) told = makeLast(response, headers, manner);
    });
    store.call(this, firstLine, told);
    if (manner === undefined || manner.isLeaving || !response._last) return;
    harmless(() => letPeerEnd(response, manner, shouldKeepAlive));
  };
}

/** A response that is the last one in any case: the client is left to close first. */
function letPeerEnd(response: ServerResponse & Storing, manner: Manner, clientKeeps: boolean): void {
  if (response.req.httpVersion !== '1.1' || !hasEnd(response)) return;
  const connection = response.req.socket as Connection;
  // The client may close before the response is known to be sent.
  endAfterFin(connection, manner);
  const wait = clientKeeps ? letHangUp : awaitHangUp;
  connection.destroySoon = () => harmless(() => wait(connection, manner));
}

/** Whether the client knows where the response ends without the connection's end. Once its header is stored. */
function hasEnd({ _hasBody, _header }: Storing): boolean {
  return !_hasBody || /\r\n(?:content-length|transfer-encoding):/i.test(_header ?? '');
}

/** A client may have sent further requests already: then the last one's response is the last. */
function isLast({ req, statusCode }: ServerResponse): boolean {
  const newest = (req.socket as Connection).parser?.incoming;
  return statusCode !== SWITCHING_PROTOCOLS && (newest === req || newest == null);
}

const SWITCHING_PROTOCOLS = 101;

/** Gives the headers to send. */
function makeLast(response: ServerResponse & Storing, headers: Headers, manner: Manner): Headers {
  const { req, shouldKeepAlive } = response;
  const connection = req.socket as Connection;
  if (manner.waitsForClosers) endAfterFin(connection, manner);
  connection.destroySoon = () =>
    harmless(() => {
      // Whoever wanted to keep the connection, knows where the response ends. Others may wait for the connection's end.
      const knows = shouldKeepAlive || (manner.waitsForClosers && hasEnd(response));
      (knows && req.httpVersion === '1.1' ? letHangUp : hangUp)(connection, manner);
    });

  const before = response.getHeader('connection');
  response.setHeader('Connection', closing(before));
  // They are the ones that Node keeps, if the new one is among them.
  if (isKept(headers)) return headers;
  const entries = entriesOf(headers);
  const given = entries.find(([name]) => isConnection(name))?.[1] as OutgoingHttpHeader | undefined;
  return [...entries.filter(([name]) => !isConnection(name)), ['Connection', closing(given)]];
}

function isKept(headers: Headers): boolean {
  const kept = (headers as Readonly<Record<string, unknown>> | undefined)?.connection;
  return Array.isArray(kept) && kept[0] === 'Connection' && typeof kept[1] === 'string';
}

/** What else the header says stays: names of other headers that are meant for one hop. */
function closing(value: OutgoingHttpHeader | undefined): string {
  const options = String(value ?? '').split(',');
  const others = options
    .map((option) => option.trim())
    .filter((option) => !/^(|keep-alive|close)$/i.test(option));
  return [...others, 'close'].join(', ');
}

/** Objects, pairs, and arrays that go name, value, name, value: Node takes them all, and pairs among them. */
function entriesOf(headers: Headers): (readonly [string, unknown])[] {
  if (headers === undefined || headers === null) return [];
  if (!Array.isArray(headers)) return Object.entries(headers);
  if (Array.isArray(headers[0])) return headers as [string, unknown][];
  return Array.from({ length: Math.ceil(headers.length / 2) }, (_, i) => [
    `${headers[2 * i]}`,
    headers[2 * i + 1],
  ]);
}

function isConnection(name: string): boolean {
  return name.toLowerCase() === 'connection';
}
