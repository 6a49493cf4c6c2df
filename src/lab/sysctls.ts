import { DEFAULT_SYSCTLS, type Sysctls } from '../model/world.js';
import { letterPort } from './script.js';

/** Settings as a scenario gives them, by their names under /proc/sys/net/ipv4 and net/ipv6. */
export type GivenSysctls = Readonly<Record<string, number | string>>;

type Value = number | string;
type Reader = (value: Value, name: string) => Partial<Sysctls>;

/** 0 or 1, of which YAML may make a number or a text. */
function bit(key: keyof Sysctls): Reader {
  return (value, name) => {
    if (!/^[01]$/.test(String(value))) throw new Error(`${name} is 0 or 1, not ${value}`);
    return { [key]: String(value) === '1' };
  };
}

function number(key: keyof Sysctls): Reader {
  return (value, name) => {
    if (!/^\d{1,9}$/.test(String(value))) throw new Error(`${name} is a whole number, not ${value}`);
    return { [key]: Number(value) };
  };
}

/** By name. */
const READERS: Readonly<Record<string, Reader>> = {
  ip_autobind_reuse: bit('autobindReuse'),
  tcp_timestamps: bit('timestamps'),
  bindv6only: bit('v6only'),
  ip_nonlocal_bind: bit('nonlocalBind4'),
  ipv6_ip_nonlocal_bind: bit('nonlocalBind6'),
  tcp_tw_reuse: number('twReuse'),
  tcp_tw_reuse_delay: number('twReuseDelayMs'),
  tcp_fin_timeout: number('finTimeoutS'),
  tcp_max_tw_buckets: number('maxTwBuckets'),
  ip_unprivileged_port_start: (value, name) => ({ unprivilegedPortStart: portNumber(String(value), name) }),
  ip_local_reserved_ports: (value, name) => ({
    reservedPorts: String(value)
      .split(',')
      .map((word) => portNumber(word.trim(), name)),
  }),
  ip_local_port_range: (value, name) => {
    const [low, high, ...more] = String(value).trim().split(/\s+/);
    if (low === undefined || high === undefined || more.length > 0)
      throw new Error(`${name} is two ports such as "P P+7", not "${value}"`);
    return { portRange: { low: portNumber(low, name), high: portNumber(high, name) } };
  },
};

/** @throws {Error} a name that the lab does not set, or a value that it does not take, with what it takes */
export function readSysctl(name: string, value: Value): Partial<Sysctls> {
  const read = READERS[name];
  if (read === undefined)
    throw new Error(`the lab sets no sysctl ${name}; it sets ${Object.keys(READERS).join(', ')}`);
  return read(value, name);
}

/** The settings of a case, with the kernel's defaults for what it does not name. */
export function sysctlsOf(given: GivenSysctls): Sysctls {
  const settings = Object.entries(given).map(([name, value]) => readSysctl(name, value));
  return Object.assign({}, DEFAULT_SYSCTLS, ...settings);
}

function portNumber(word: string, name: string): number {
  const port = /^\d{1,5}$/.test(word) ? Number(word) : letterPort(word);
  if (port === undefined || port > 65_535)
    throw new Error(`${name}: ${word} is no port such as P, P+1 or 8080`);
  return port;
}
