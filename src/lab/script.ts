import { constants } from 'node:os';
import { canonicalHost } from '../kernel/sockaddr.js';
import type { Setting } from '../model/step.js';
import type { ErrorCode, Socket } from '../model/world.js';

/** What a step does. Sockets and processes have names. */
export type Action =
  | {
      readonly do: 'socket';
      readonly name: string;
      readonly protocol: Socket['protocol'];
      readonly family: Socket['family'];
      readonly uid: number;
      readonly process: string;
    }
  | ({ readonly do: 'set'; readonly name: string } & Setting)
  | {
      readonly do: 'bind';
      readonly name: string;
      readonly host: string;
      readonly port: PortWord;
      readonly unprivileged: boolean;
    }
  | { readonly do: 'connect'; readonly name: string; readonly host: string; readonly port: PortWord }
  | { readonly do: 'listen'; readonly name: string; readonly backlog: number }
  | {
      readonly do: 'accept';
      readonly name: string;
      readonly as: string;
      readonly uid: number;
      readonly process: string;
    }
  | { readonly do: 'shutdown'; readonly name: string; readonly how: 'read' | 'write' | 'both' }
  | { readonly do: 'send' | 'receive'; readonly name: string; readonly bytes: number }
  | { readonly do: 'disconnect'; readonly name: string }
  | { readonly do: 'close'; readonly name: string; readonly process: string | undefined }
  | { readonly do: 'share'; readonly name: string; readonly process: string }
  | { readonly do: 'exit'; readonly process: string }
  | { readonly do: 'destroy-time-wait'; readonly port: PortWord }
  | { readonly do: 'wait'; readonly ms: number }
  | {
      readonly do: 'see';
      readonly what: 'state' | 'address' | 'v6only';
      readonly name: string;
      readonly value: string;
    }
  | {
      readonly do: 'count';
      readonly state: 'TIME_WAIT' | 'FIN_WAIT2';
      readonly port: PortWord;
      readonly value: number;
    };

/** A port of the scenario's own: P, Q, R, S and so on, `P+3`, 0, or the port that a socket got: `@name`. */
export type PortWord = { readonly letter: string; readonly plus: number } | { readonly of: string } | 0;

/** One line of a scenario. */
export interface Step {
  readonly line: string;
  /** File and line where it stands. */
  readonly at: string;
  readonly action: Action;
  /** What comes of it on the kernel that was verified. */
  readonly expected: 'ok' | ErrorCode;
  /** What the source says comes of it, where that is what is tried. */
  readonly claimed?: 'ok' | ErrorCode;
}

/**
 * Reads a line such as `b.bind 127.0.0.1:P -> EADDRINUSE, claimed ok`.
 *
 * @throws {Error} what was expected instead.
 */
export function parseStep(line: string, at: string): Step {
  const {
    action: text = '',
    expected = 'ok',
    claimed,
  } = /^(?<action>.*?)(?:\s*->\s*(?<expected>\w+)(?:\s*,\s*claimed\s+(?<claimed>\w+))?)?\s*$/.exec(
    line.trim(),
  )?.groups ?? {};
  return {
    line: line.trim(),
    at,
    action: parseAction(text.trim()),
    expected: outcome(expected),
    ...(claimed === undefined ? {} : { claimed: outcome(claimed) }),
  };
}

function outcome(word: string): 'ok' | ErrorCode {
  if (word === 'ok' || word === 'EOPNOTSUPP' || word in constants.errno) return word as 'ok' | ErrorCode;
  throw new Error(`after "->" stands ok or an error such as EADDRINUSE, not "${word}"`);
}

const NAME = '[a-zA-Z][\\w-]*';
const FORMS: readonly (readonly [form: RegExp, read: (groups: Record<string, string>) => Action])[] = [
  [
    new RegExp(
      `^(?<name>${NAME}) = socket (?<protocol>tcp|udp)(?<family>4|6)(?: uid=(?<uid>\\d+))?(?: in (?<process>${NAME}))?$`,
    ),
    ({ name, protocol, family, uid, process }) => ({
      do: 'socket',
      name: name as string,
      protocol: protocol as Socket['protocol'],
      family: family === '4' ? 'ipv4' : 'ipv6',
      uid: Number(uid ?? 0),
      process: process ?? 'p',
    }),
  ],
  [
    new RegExp(
      `^(?<as>${NAME}) = (?<name>${NAME})\\.accept(?: uid=(?<uid>\\d+))?(?: in (?<process>${NAME}))?$`,
    ),
    ({ as, name, uid, process }) => ({
      do: 'accept',
      as: as as string,
      name: name as string,
      uid: Number(uid ?? 0),
      process: process ?? 'p',
    }),
  ],
  [
    new RegExp(`^(?<name>${NAME})\\.set (?<option>\\w+)(?:=(?<value>\\S+))?$`),
    ({ name, option, value }) => ({ do: 'set', name: name as string, ...setting(option as string, value) }),
  ],
  [
    new RegExp(`^(?<name>${NAME})\\.bind (?<at>\\S+)(?<unprivileged> unprivileged)?$`),
    ({ name, at, unprivileged }) => ({
      do: 'bind',
      name: name as string,
      ...endpoint(at as string),
      unprivileged: unprivileged !== undefined,
    }),
  ],
  [
    new RegExp(`^(?<name>${NAME})\\.connect (?<at>\\S+)$`),
    ({ name, at }) => ({ do: 'connect', name: name as string, ...endpoint(at as string) }),
  ],
  [
    new RegExp(`^(?<name>${NAME})\\.listen(?: (?<backlog>\\d+))?$`),
    ({ name, backlog }) => ({ do: 'listen', name: name as string, backlog: Number(backlog ?? 8) }),
  ],
  [
    new RegExp(`^(?<name>${NAME})\\.shutdown (?<how>read|write|both)$`),
    ({ name, how }) => ({ do: 'shutdown', name: name as string, how: how as 'read' }),
  ],
  [
    new RegExp(`^(?<name>${NAME})\\.(?<what>send|receive)(?: (?<bytes>\\d+))?$`),
    ({ name, what, bytes }) => ({ do: what as 'send', name: name as string, bytes: Number(bytes ?? 1) }),
  ],
  [new RegExp(`^(?<name>${NAME})\\.disconnect$`), ({ name }) => ({ do: 'disconnect', name: name as string })],
  [
    new RegExp(`^(?<name>${NAME})\\.close(?: in (?<process>${NAME}))?$`),
    ({ name, process }) => ({ do: 'close', name: name as string, process }),
  ],
  [
    new RegExp(`^(?<name>${NAME})\\.share with (?<process>${NAME})$`),
    ({ name, process }) => ({ do: 'share', name: name as string, process: process as string }),
  ],
  [new RegExp(`^kill (?<process>${NAME})$`), ({ process }) => ({ do: 'exit', process: process as string })],
  [
    /^destroy TIME_WAIT (?<port>\S+)$/,
    ({ port }) => ({ do: 'destroy-time-wait', port: portWord(port as string) }),
  ],
  [
    /^wait (?<time>\d+)(?<unit>ms|s)$/,
    ({ time, unit }) => ({ do: 'wait', ms: Number(time) * (unit === 's' ? 1000 : 1) }),
  ],
  [
    new RegExp(`^(?<name>${NAME})\\.(?<what>state|address|v6only) is (?<value>\\S+)$`),
    ({ name, what, value }) => ({
      do: 'see',
      what: what as 'state',
      name: name as string,
      value: value as string,
    }),
  ],
  [
    /^count (?<state>TIME_WAIT|FIN_WAIT2) (?<port>\S+) is (?<value>\d+)$/,
    ({ state, port, value }) => ({
      do: 'count',
      state: state as 'TIME_WAIT',
      port: portWord(port as string),
      value: Number(value),
    }),
  ],
];

/** The forms that a line may have, for messages. */
const FORMS_IN_WORDS =
  'NAME = socket tcp4|tcp6|udp4|udp6 [uid=N] [in PROCESS], NAME.bind HOST:PORT [unprivileged], NAME.listen [BACKLOG], ' +
  'NAME.connect HOST:PORT, NAME = NAME.accept [uid=N] [in PROCESS], NAME.set OPTION[=VALUE], NAME.send [BYTES], NAME.receive [BYTES], ' +
  'NAME.shutdown read|write|both, NAME.disconnect, NAME.close [in PROCESS], NAME.share with PROCESS, kill PROCESS, ' +
  'destroy TIME_WAIT PORT, wait 3ms|61s, NAME.state|address|v6only is VALUE, count TIME_WAIT|FIN_WAIT2 PORT is N';

function parseAction(text: string): Action {
  for (const [form, read] of FORMS) {
    const groups = form.exec(text)?.groups;
    if (groups !== undefined) return read(groups);
  }
  throw new Error(`a step is one of ${FORMS_IN_WORDS}`);
}

function setting(option: string, value = '1'): Setting {
  switch (option) {
    case 'SO_REUSEADDR':
    case 'SO_REUSEPORT':
    case 'IPV6_V6ONLY':
    case 'IP_FREEBIND':
    case 'IP_BIND_ADDRESS_NO_PORT':
      if (value !== '0' && value !== '1') throw new Error(`${option} is 0 or 1`);
      return { option, value: value === '1' };
    case 'SO_LINGER':
      if (value !== '0' && value !== 'off') throw new Error('SO_LINGER is 0 (close resets) or off');
      return { option, value: value === '0' };
    case 'SO_BINDTODEVICE':
      return { option, value: value === 'none' ? '' : value, mayRebind: true };
    case 'IP_LOCAL_PORT_RANGE': {
      if (value === 'none') return { option, value: null };
      const [, low, high] = /^(\d{1,5})-(\d{1,5})$/.exec(value)?.map(Number) ?? [];
      if (low === undefined || high === undefined || low === 0 || low > high || high > 65_535)
        throw new Error('IP_LOCAL_PORT_RANGE is two port numbers, LOW-HIGH with LOW not above HIGH, or none');
      return { option, value: { low, high } };
    }
    default:
      throw new Error(`there is no option ${option}`);
  }
}

function endpoint(text: string): { host: string; port: PortWord } {
  const { six, four, port } =
    /^(?:\[(?<six>[^\]]+)\]|(?<four>[\d.]+)):(?<port>\S+)$/.exec(text)?.groups ?? {};
  const host = six ?? four;
  if (host === undefined || port === undefined)
    throw new Error(`an address is 127.0.0.1:P or [::1]:P, not ${text}`);
  const canonical = canonicalHost(six === undefined ? 'ipv4' : 'ipv6', host);
  if (canonical === undefined) throw new Error(`${host} is no IP address`);
  return { host: canonical, port: portWord(port) };
}

const FIRST_PORT = 20_000;
/** Ports from one letter to the next. */
const LETTER_PORTS = 64;

/** The port that a letter stands for, in every namespace of the lab. */
export function portOfLetter({ letter, plus }: { readonly letter: string; readonly plus: number }): number {
  return FIRST_PORT + (letter.charCodeAt(0) - 'A'.charCodeAt(0)) * LETTER_PORTS + plus;
}

/** The port of a word such as `P` or `P+1`; undefined for another word. */
export function letterPort(word: string): number | undefined {
  const { letter, plus } = /^(?<letter>[A-Z])(?:\+(?<plus>\d{1,2}))?$/.exec(word)?.groups ?? {};
  return letter === undefined ? undefined : portOfLetter({ letter, plus: Number(plus ?? 0) });
}

function portWord(text: string): PortWord {
  if (text === '0') return 0;
  const of = /^@(?<of>[a-zA-Z][\w-]*)$/.exec(text)?.groups?.of;
  if (of !== undefined) return { of };
  const { letter, plus } = /^(?<letter>[A-Z])(?:\+(?<plus>\d{1,2}))?$/.exec(text)?.groups ?? {};
  if (letter === undefined)
    throw new Error(`a port is a letter such as P, P+1, @NAME (the port of that socket) or 0, not ${text}`);
  return { letter, plus: Number(plus ?? 0) };
}
