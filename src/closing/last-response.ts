import type { OutgoingHttpHeader, ServerResponse } from 'node:http';
import type { Connection } from './connection.js';
import { hangUp, letHangUp } from './hang-up.js';
import { harmless } from './harmless.js';

/** The headers as `writeHead` was given them, or as Node keeps those that were set one by one. */
type Headers = Readonly<Record<string, unknown>> | readonly unknown[] | undefined;

interface Storing {
  _storeHeader(firstLine: string, headers: Headers): void;
}

/**
 * From now on every HTTP/1 response whose headers have not been sent says `Connection: close`, also where the program
 * says something else, and its connection is closed after it.
 *
 * All responses pass Node's `_storeHeader`, those too that were begun before.
 *
 * @see lib/_http_outgoing.js
 */
export function closeAfterResponses(quietMs: number): void {
  const prototype = process.getBuiltinModule('node:http').ServerResponse.prototype;
  const { _storeHeader: store } = prototype as unknown as Storing;
  (prototype as unknown as Storing)._storeHeader = function (firstLine, headers) {
    const response = this as unknown as ServerResponse;
    let told = headers;
    harmless(() => {
      if (isLast(response)) told = makeLast(response, headers, quietMs);
    });
    store.call(this, firstLine, told);
  };
}

/** A client may have sent further requests already: then the last one's response is the last. */
function isLast({ req, statusCode }: ServerResponse): boolean {
  const newest = (req.socket as Connection).parser?.incoming;
  return statusCode !== SWITCHING_PROTOCOLS && (newest === req || newest == null);
}

const SWITCHING_PROTOCOLS = 101;

/** Gives the headers to send. */
function makeLast(response: ServerResponse, headers: Headers, quietMs: number): Headers {
  const { req, shouldKeepAlive } = response;
  const connection = req.socket as Connection;
  // Whoever wanted to keep the connection, knows where the response ends. Others may wait for the connection's end.
  const close = shouldKeepAlive && req.httpVersion === '1.1' ? letHangUp : hangUp;
  connection.destroySoon = () => harmless(() => close(connection, quietMs));

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
