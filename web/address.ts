import type { WatchFilter } from '../src/watch/view.js';

/** What is watched, as the address of the page keeps it: `port=8080`. Empty for everything. */
export function filterOf(hash: string): WatchFilter {
  const parameters = new URLSearchParams(hash.replace(/^#/, ''));
  const [port, pid, keeper] = ['port', 'pid', 'keeper'].map((name) => parameters.get(name));
  return {
    ...(isNumber(port) && { port: Number(port) }),
    ...(isNumber(pid) && { pid: Number(pid) }),
    ...(keeper !== null && keeper !== undefined && keeper !== '' && { keeper }),
  };
}

function isNumber(text: string | null | undefined): text is string {
  return text !== null && text !== undefined && /^[1-9]\d{0,9}$/.test(text);
}

export function queryOf({ port, pid, keeper }: WatchFilter): string {
  const query = new URLSearchParams();
  if (port !== undefined) query.set('port', `${port}`);
  if (pid !== undefined) query.set('pid', `${pid}`);
  if (keeper !== undefined) query.set('keeper', keeper);
  return query.toString();
}

/** `port 8080`, `the whole machine` */
export function describeFilter({ port, pid, keeper }: WatchFilter): string {
  const parts = [
    ...(port === undefined ? [] : [`port ${port}`]),
    ...(pid === undefined ? [] : [`process ${pid}`]),
    ...(keeper === undefined ? [] : [`keeper ${keeper}`]),
  ];
  return parts.length === 0 ? 'the whole machine' : parts.join(', ');
}

/** What `holdfast why` takes: `8080`, `127.0.0.1:8080`, `[::1]:8080`. */
export function targetOf(address: string, port: string): string {
  const host = address.trim().replace(/^\[(.*)\]$/, '$1');
  if (host === '' || host === '*' || host === 'any') return port.trim();
  return host.includes(':') ? `[${host}]:${port.trim()}` : `${host}:${port.trim()}`;
}
