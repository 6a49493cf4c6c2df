import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import { BlockList, isIP } from 'node:net';
import { parseCookie } from 'cookie';

/** What a request says of where it comes from. */
export interface Visit {
  readonly method: string;
  readonly host: string | undefined;
  readonly origin: string | undefined;
  /** Sec-Fetch-Site; browsers set it. */
  readonly site: string | undefined;
  readonly cookie: string | undefined;
}

export interface GateOptions {
  /** Names of this machine by which it may be called besides `localhost` and addresses of the loopback interface. */
  readonly names: readonly string[];
  /** Whether it may be called by any IP address. */
  readonly anyAddress: boolean;
}

/** As many are remembered; the oldest has to be admitted again. */
const SESSIONS_MAX = 100;
const SECRET_BYTES = 32;
/** Cookies of pages that were on other ports are removed when there are more: a browser sends them all. */
const FORMER_MAX = 10;

const loopback = new BlockList();
loopback.addSubnet('127.0.0.0', 8, 'ipv4');
loopback.addAddress('::1', 'ipv6');

/**
 * Who may see the page. A token can be used once, and gives a session that the browser keeps in a cookie. A page of somebody
 * else cannot use that: `SameSite=Strict`, and Host and Origin must be this server's own.
 *
 * @see RFC 6265bis, 5.6.7 (SameSite); Fetch Metadata Request Headers (Sec-Fetch-Site)
 */
export class Gate {
  readonly #options: GateOptions;
  /** Digests, so that the time of a comparison tells nothing. */
  readonly #tokens = new Set<string>();
  #sessions: readonly Buffer[] = [];

  constructor(options: GateOptions) {
    this.#options = options;
  }

  /** Another token. */
  issue(): string {
    const token = randomBytes(SECRET_BYTES).toString('base64url');
    this.#tokens.add(digest(token).toString('hex'));
    return token;
  }

  /** The values of Set-Cookie that begin a session; undefined for a token that is none or has been used. */
  admit(token: string, { host, cookie = '' }: Pick<Visit, 'host' | 'cookie'>): readonly string[] | undefined {
    if (!this.#tokens.delete(digest(token).toString('hex'))) return undefined;
    const session = randomBytes(SECRET_BYTES).toString('base64url');
    this.#sessions = [...this.#sessions, digest(session)].slice(-SESSIONS_MAX);
    const former = Object.keys(parseCookie(cookie)).filter((name) => /^holdfast-\d+$/.test(name));
    const surplus = former.slice(0, Math.max(0, former.length - FORMER_MAX));
    return [
      ...surplus.map((name) => `${name}=; Path=/; Max-Age=0`),
      `${cookieNameAt(host)}=${session}; Path=/; HttpOnly; SameSite=Strict`,
    ];
  }

  /** Whether it was meant for this server by its name. DNS rebinding brings requests with another one. */
  isAddressed({ host = '' }: Pick<Visit, 'host'>): boolean {
    const { hostname } = /^(?<hostname>\[[0-9a-f:.]+\]|[^[\]:/@?#]+)(?::\d{1,5})?$/i.exec(host)?.groups ?? {};
    if (hostname === undefined) return false;
    const name = hostname.replace(/^\[|\]$/g, '').toLowerCase();
    const { names, anyAddress } = this.#options;
    if (isIP(name) !== 0) return anyAddress || loopback.check(name, isIP(name) === 6 ? 'ipv6' : 'ipv4');
    return name === 'localhost' || names.some((own) => own.toLowerCase() === name);
  }

  /** Whether the page itself asks, in a browser that was admitted. */
  isAdmitted(visit: Visit): boolean {
    return this.isAddressed(visit) && this.#isOwnPage(visit) && this.#hasSession(visit);
  }

  #isOwnPage({ method, host, origin, site }: Visit): boolean {
    if (site !== undefined && site !== 'same-origin' && site !== 'none') return false;
    // Every browser tells from where a POST comes.
    if (origin === undefined) return method === 'GET' || method === 'HEAD';
    return origin === `http://${host}`;
  }

  #hasSession({ host, cookie = '' }: Visit): boolean {
    const session = parseCookie(cookie)[cookieNameAt(host)];
    if (session === undefined) return false;
    const known = digest(session);
    return this.#sessions.some((one) => timingSafeEqual(one, known));
  }
}

/**
 * A browser sends the cookies of a host to all its ports, so each port has a name. It is the port that the browser knows:
 * behind `ssh -L` the servers of several machines may all have another one.
 */
function cookieNameAt(host = ''): string {
  return `holdfast-${/:(?<port>\d{1,5})$/.exec(host)?.groups?.port ?? '80'}`;
}

function digest(secret: string): Buffer {
  return createHash('sha256').update(secret).digest();
}
