import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';

export interface Answer {
  readonly status: number;
  readonly version: string;
  /** By lower-case name. */
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
  /** Status line and headers as they came. */
  readonly head: string;
}

/** How a connection ended: `end` in good order, `reset` otherwise. */
export interface End {
  readonly kind: 'end' | 'reset';
  /** performance.now() */
  readonly atMs: number;
}

export interface RequestOptions {
  readonly path?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly version?: '1.0' | '1.1';
  readonly body?: string;
}

/** A client's connection, which it keeps whatever the server says about that. */
export class Client {
  readonly socket: Socket;
  /** When the server has ended its side. */
  readonly ended: Promise<End>;
  #received = '';
  #isEnded = false;
  /** How many bytes the next answer has, at least. */
  #needed = 0;
  #localPort: number | undefined;
  #notify = (): void => undefined;

  /** At a port of 127.0.0.1, or at a unix socket. */
  static async connect(
    to: number | string,
    { tls = false }: { readonly tls?: boolean } = {},
  ): Promise<Client> {
    const at = typeof to === 'number' ? { port: to, host: '127.0.0.1' } : { path: to };
    const options = { ...at, allowHalfOpen: true, rejectUnauthorized: false };
    const socket = tls ? connectTls(options) : connect(options);
    const client = new Client(socket);
    await once(socket, tls ? 'secureConnect' : 'connect');
    client.#localPort = socket.localPort;
    return client;
  }

  constructor(socket: Socket) {
    this.socket = socket;
    socket.setNoDelay(true);
    socket.setEncoding('latin1');
    socket.on('data', (text: string) => {
      this.#received += text;
      this.#notify();
    });
    this.ended = new Promise((resolve) => {
      const end = (kind: End['kind']): void => {
        this.#isEnded = true;
        this.#notify();
        resolve({ kind, atMs: performance.now() });
      };
      socket.once('end', () => end('end'));
      socket.once('error', () => end('reset'));
      socket.once('close', () => end('reset')); // unless it had ended before
    });
  }

  get isEnded(): boolean {
    return this.#isEnded;
  }

  get localPort(): number | undefined {
    return this.#localPort;
  }

  /** @throws Error when the connection ends before the answer is complete. */
  async request(options: RequestOptions = {}): Promise<Answer> {
    this.send(options);
    return await this.answer();
  }

  send({ path = '/', headers = {}, version = '1.1', body = '' }: RequestOptions = {}): void {
    const lines = [
      `${body === '' ? 'GET' : 'POST'} ${path} HTTP/${version}`,
      'Host: localhost',
      ...Object.entries({ ...(body === '' ? {} : { 'Content-Length': `${body.length}` }), ...headers }).map(
        ([name, value]) => `${name}: ${value}`,
      ),
    ];
    this.socket.write(`${lines.join('\r\n')}\r\n\r\n${body}`);
  }

  /** The next answer. @throws Error when the connection ends before it is complete. */
  async answer(): Promise<Answer> {
    for (;;) {
      // To look again at every piece of a big answer would take longer than the answer.
      const found = this.#received.length < this.#needed ? undefined : parse(this.#received, this.#isEnded);
      if (found !== undefined) {
        this.#received = this.#received.slice(found.length);
        this.#needed = 0;
        return found.answer;
      }
      if (this.#needed === 0) this.#needed = neededFor(this.#received);
      if (this.#isEnded) throw new Error(`ended with ${JSON.stringify(this.#received.slice(0, 200))}`);
      await this.#more();
    }
  }

  /** Waits until so much of an answer, or of what an upgraded connection says, has come; takes nothing away. */
  async received(text: string): Promise<void> {
    while (!this.#received.includes(text)) {
      if (this.#isEnded) throw new Error(`ended without ${text}`);
      await this.#more();
    }
  }

  close(): void {
    this.socket.end();
    this.socket.destroySoon();
  }

  #more(): Promise<void> {
    return new Promise((resolve) => {
      this.#notify = resolve;
    });
  }
}

/** The first answer in the text and how much of the text it is; undefined while it is not complete. */
function parse(text: string, isEnd: boolean): { answer: Answer; length: number } | undefined {
  const bodyAt = text.indexOf('\r\n\r\n') + 4;
  if (bodyAt < 4) return undefined;
  const [first = '', ...lines] = text.slice(0, bodyAt - 4).split('\r\n');
  const headers = Object.fromEntries(
    lines.map((line) => [line.split(':', 1)[0]?.toLowerCase(), line.slice(line.indexOf(':') + 1).trim()]),
  ) as Record<string, string>;
  const status = Number(first.split(' ')[1]);
  const rest = text.slice(bodyAt);
  const body = bodyIn(rest, status, headers, isEnd);
  if (body === undefined) return undefined;
  return {
    answer: { status, version: first.slice(5, 8), headers, body: body.text, head: text.slice(0, bodyAt) },
    length: bodyAt + body.length,
  };
}

function neededFor(text: string): number {
  const head = /^(.*?\r\n)content-length: (\d+)\r\n(.*?\r\n)?\r\n/is.exec(text);
  return head === null ? 0 : head[0].length + Number(head[2]);
}

function bodyIn(
  rest: string,
  status: number,
  headers: Readonly<Record<string, string>>,
  isEnd: boolean,
): { text: string; length: number } | undefined {
  if (status < 200 || status === 204 || status === 304) return { text: '', length: 0 };
  const length = headers['content-length'];
  if (length !== undefined) {
    return rest.length < Number(length)
      ? undefined
      : { text: rest.slice(0, Number(length)), length: Number(length) };
  }
  if (headers['transfer-encoding'] !== 'chunked')
    return isEnd ? { text: rest, length: rest.length } : undefined;
  let text = '';
  for (let at = 0; ; ) {
    const line = rest.indexOf('\r\n', at);
    if (line === -1) return undefined;
    const size = Number.parseInt(rest.slice(at, line), 16);
    const next = line + 2 + size + 2;
    if (rest.length < next) return undefined;
    if (size === 0) return { text, length: next };
    text += rest.slice(line + 2, line + 2 + size);
    at = next;
  }
}
