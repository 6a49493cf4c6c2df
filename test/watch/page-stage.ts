import { type IncomingHttpHeaders, request } from 'node:http';
import { holdfast } from '../support/keeper.js';
import { type Started, type StartOptions, start } from '../support/process.js';

export interface PageOptions extends StartOptions {
  readonly around?: (command: readonly string[]) => readonly string[];
}

/** `holdfast watch --web`. */
export interface Page {
  readonly process: Started;
  /** As it was printed; it can be opened once. */
  readonly url: string;
  readonly port: number;
  /** Asks as a program does; nothing is followed. */
  ask(path: string, asking?: Asking): Promise<Answer>;
  /** Uses the printed address up, and gives the cookie. */
  enter(): Promise<string>;
  /** Server-sent events as they come, until the loop over them is left. */
  events(path: string, cookie: string): AsyncGenerator<PageEvent>;
}

export interface Asking {
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
}

export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly text: string;
}

export interface PageEvent {
  readonly name: string;
  readonly data: unknown;
}

export async function startPage(
  flags: readonly string[] = [],
  { around = (command) => command, ...options }: PageOptions = {},
): Promise<Page> {
  const page = start(around([...holdfast, 'watch', '--web', ...flags]), options);
  const [url = '', host = '', digits = ''] = await page.line(/^http:\/\/(.+):(\d+)\/\?token=\S+$/);
  const port = Number(digits);
  const ask = (path: string, asking: Asking = {}): Promise<Answer> => askAt(host, port, path, asking);
  return {
    process: page,
    url,
    port,
    ask,
    enter: async () => {
      const { headers } = await ask(url.slice(url.indexOf('/?')));
      const cookie = headers['set-cookie']?.[0]?.split(';')[0];
      if (cookie === undefined) throw new Error(`${url} gave no cookie`);
      return cookie;
    },
    events: (path, cookie) => eventsAt(`http://${host}:${port}${path}`, cookie),
  };
}

function askAt(
  host: string,
  port: number,
  path: string,
  { method = 'GET', headers = {}, body }: Asking,
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    request({ host: host.replace(/^\[|\]$/g, ''), port, path, method, headers }, (response) => {
      let text = '';
      response.setEncoding('utf8');
      response.on('data', (chunk: string) => {
        text += chunk;
      });
      response.on('end', () =>
        resolve({ status: response.statusCode ?? 0, headers: response.headers, text }),
      );
    })
      .on('error', reject)
      .end(body);
  });
}

async function* eventsAt(url: string, cookie: string): AsyncGenerator<PageEvent> {
  const stop = new AbortController();
  try {
    const response = await fetch(url, { headers: { cookie }, signal: stop.signal });
    if (response.body === null || !response.ok)
      throw new Error(`${url}: ${response.status} ${await response.text()}`);
    let rest = '';
    for await (const chunk of response.body.pipeThrough(new TextDecoderStream())) {
      const blocks = (rest + chunk).split('\n\n');
      rest = blocks.pop() ?? '';
      for (const block of blocks) {
        const { name = '', data = '' } = /^event: (?<name>\w+)\ndata: (?<data>.*)$/.exec(block)?.groups ?? {};
        yield { name, data: JSON.parse(data) };
      }
    }
  } finally {
    stop.abort();
  }
}

/** What `holdfast why` says without ages, which differ from one moment to the next. */
export function timeless(text: string): string {
  return text.replace(/\b\d+(\.\d+)? ?(ms|s|min|h)\b/g, 'T');
}
