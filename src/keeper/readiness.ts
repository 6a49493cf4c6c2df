import { errorText, HoldfastError } from '../errors.js';
import { parseDuration } from '../model/duration.js';

/** What a server must have done, beside listening, to be ready. */
export type Readiness =
  /** Nothing. */
  | { readonly type: 'listen' }
  /** It says READY=1 by sd_notify(3). */
  | { readonly type: 'notify' }
  /** It says so by Node's channel: process.send('ready'). */
  | { readonly type: 'ipc' }
  /** It answers a GET with a status from 200 to 399. `port`: the one to ask, for a server with several. */
  | { readonly type: 'http'; readonly path: string; readonly port?: number }
  /** It runs for so long. */
  | { readonly type: 'delay'; readonly delayMs: number };

const FORMS = 'listen, notify, ipc, http:/path, http:8080/path, delay:3s';

/**
 * Reads what makes a server ready: `listen`, `notify`, `ipc`, `http:/path`, `http:8080/path` or `delay:3s`. An HTTP
 * check has no host: it goes to the address at which the server listens.
 *
 * @throws {HoldfastError} ERR_HOLDFAST_OPTION
 */
export function parseReadiness(text: string): Readiness {
  const { type = text, value } = /^(?<type>[^:]*):(?<value>.*)$/s.exec(text)?.groups ?? {};
  switch (type) {
    case 'listen':
    case 'notify':
    case 'ipc':
      if (value !== undefined) throw wrong(text, `nothing follows ${type}`);
      return { type };
    case 'http':
      return { type, ...parseHttp(text, value ?? '') };
    case 'delay':
      return { type, delayMs: parseDelay(text, value ?? '') };
    default:
      throw wrong(text, `there is no "${type}"`);
  }
}

function parseHttp(text: string, value: string): { readonly path: string; readonly port?: number } {
  if (value.startsWith('//')) {
    throw wrong(
      text,
      'leave out the host, the check goes to where the server listens; at most name its port',
    );
  }
  const { port, path } = /^(?<port>[^/]*)(?<path>\/.*)$/s.exec(value)?.groups ?? {};
  if (path === undefined) throw wrong(text, 'it has no path, which begins with /');
  if (!/^[!-~]+$/.test(path)) throw wrong(text, 'a path has printable ASCII characters; write others as %20');
  if (port === undefined || port === '') return { path };
  if (!/^\d{1,5}$/.test(port) || Number(port) < 1 || Number(port) > 65_535) {
    throw wrong(text, `a port is a number from 1 to 65535, not "${port}"`);
  }
  return { path, port: Number(port) };
}

function parseDelay(text: string, value: string): number {
  try {
    return parseDuration(value);
  } catch (error) {
    throw wrong(text, errorText(error));
  }
}

function wrong(text: string, why: string): HoldfastError {
  return new HoldfastError('ERR_HOLDFAST_OPTION', `readiness "${text}": ${why}; the forms are ${FORMS}`);
}
