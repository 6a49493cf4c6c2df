import { constants } from 'node:os';
import { HoldfastError } from '../errors.js';
import type { RestartPolicy } from './lifecycle.js';
import type { ListenRequest } from './listen-address.js';

/** What a unit says of a keeper. Times in milliseconds. */
export interface UnitFacts {
  /** The keeper's name, and the unit's. */
  readonly name: string;
  /** What the keeper keeps, for people. */
  readonly description: string;
  /** Node, holdfast, and all its arguments. */
  readonly command: readonly string[];
  /** The same for `holdfast reload` of this keeper. */
  readonly reload: readonly string[];
  readonly directory: string;
  /** PATH, where systemd's own would not do. */
  readonly path?: string | undefined;
  /** Of the user's own service manager. */
  readonly isUserUnit: boolean;
  readonly user?: string | undefined;
  readonly group?: string | undefined;
  readonly restart: RestartPolicy;
  readonly stopSignal: NodeJS.Signals;
  readonly stopTimeoutMs: number;
  readonly readyTimeoutMs: number;
  readonly drainTimeoutMs: number;
  /** What the keeper binds itself. */
  readonly listens: readonly ListenRequest[];
  /** What systemd is to bind, each in a unit of its own. */
  readonly sockets: readonly ListenRequest[];
}

export interface UnitFile {
  /** Its name in the folder of units. */
  readonly name: string;
  readonly text: string;
}

/** First line of every file but for its name: by it a file is known that may be written anew. */
export const WRITTEN = '# Written by `holdfast systemd`; make changes in a drop-in (systemctl edit).';

/** systemd waits for so long by default. */
const START_TIMEOUT_MS = 90_000;
/** The keeper empties queues before the stop signal, and looks after what SIGKILL leaves. */
const SLACK_MS = 10_000;
/** Held sockets that systemd may have copies of. */
const STORE_MAX = 128;
const FIRST_FREE_PORT = 1_024;

/**
 * The unit files of a keeper: its service, and a socket for each address that systemd is to bind.
 *
 * @throws {HoldfastError} ERR_HOLDFAST_OPTION: there is no way to write that down.
 * @see systemd.service(5), systemd.exec(5), systemd.kill(5), systemd.socket(5), systemd.syntax(7)
 */
export function unitFiles(facts: UnitFacts): readonly UnitFile[] {
  const sockets = facts.sockets.map((request, index) => socketFile(facts.name, request, index));
  return [serviceFile(facts, sockets), ...sockets];
}

/**
 * One word of a command line as systemd reads it: `%` begins a specifier, `$` a variable, and what is between double quotes
 * has C's escapes.
 */
export function quoteArgument(argument: string): string {
  return quoteWord(argument.replaceAll('$', () => '$$'));
}

function serviceFile(facts: UnitFacts, sockets: readonly UnitFile[]): UnitFile {
  const { name } = facts;
  const stopMs = facts.stopTimeoutMs + SLACK_MS;
  const reloadMs = facts.drainTimeoutMs + stopMs + facts.readyTimeoutMs;
  const text = lines([
    WRITTEN,
    '',
    '[Unit]',
    `Description=${plainValue(facts.description)}`,
    'After=network.target',
    '# Its clients wait as long as it is down, so it is started again however often it has failed.',
    'StartLimitIntervalSec=0',
    '',
    '[Service]',
    'Type=notify',
    'NotifyAccess=main',
    `WorkingDirectory=${directoryValue(facts.directory)}`,
    `ExecStart=${commandValue(facts.command)}`,
    '# `systemctl reload` waits until the new generation has taken over, and fails when it has not. Not Type=notify-reload:',
    '# systemd has it since version 253, and READY=1 says nothing of a reload that failed.',
    `ExecReload=${commandValue(facts.reload)}`,
    ...(facts.path === undefined ? [] : [`Environment=${quoteWord(`PATH=${facts.path}`)}`]),
    ...(sockets.length === 0 ? [] : [`Sockets=${sockets.map((socket) => socket.name).join(' ')}`]),
    `SyslogIdentifier=${name}`,
    ...identity(facts),
    '',
    '# systemd has copies of the held sockets, and gives them back when it starts the keeper again: clients wait meanwhile.',
    '# An orderly stop takes them out. Were they kept beyond an end for good, clients would wait for nobody.',
    `FileDescriptorStoreMax=${STORE_MAX}`,
    'FileDescriptorStorePreserve=restart',
    `Restart=${RESTART[facts.restart]}`,
    '# Not RestartSteps=: systemd counts every restart since the last stop, also those of months ago.',
    'RestartSec=100ms',
    '# What `holdfast stop` and `systemctl stop` end with is no failure.',
    `SuccessExitStatus=${128 + constants.signals[facts.stopSignal]}`,
    '',
    '# The stop signal is for the keeper alone, which stops its server in order; with control-group the server would get it',
    '# at the same time, while clients are in its queue. When the keeper was killed, its server serves on, and the next',
    '# keeper takes it over; with mixed or control-group systemd would kill it first, and cut off who is being answered.',
    'KillMode=process',
    'KillSignal=SIGTERM',
    '# --stop-timeout, and what is done before and after it. A stop does not wait for a reload to drain.',
    `TimeoutStopSec=${seconds(stopMs)}`,
    '# For a reload too, which may have to wait for the one before it: --drain-timeout, --stop-timeout, --ready-timeout.',
    `TimeoutStartSec=${seconds(Math.max(START_TIMEOUT_MS, reloadMs))}`,
    '# The keeper is started again when its event loop or its trap hangs.',
    'WatchdogSec=30s',
    '# A process of the server that the kernel kills for want of memory is no reason to stop all: the keeper starts it again.',
    'OOMPolicy=continue',
    '',
    '[Install]',
    `WantedBy=${facts.isUserUnit ? 'default.target' : 'multi-user.target'}`,
  ]);
  return { name: `${name}.service`, text };
}

/** When systemd starts the keeper again. It ends by itself as --restart says; whatever else ends it was not meant. */
const RESTART: Readonly<Record<RestartPolicy, string>> = {
  always: 'always',
  'on-failure': 'on-failure',
  never: 'on-abnormal',
};

function identity({ name, isUserUnit, user, group, listens }: UnitFacts): readonly string[] {
  if (isUserUnit) return [];
  const isRoot = user === undefined || user === 'root' || user === '0';
  const bindsLow = listens.some(({ address }) => address.family !== 'unix' && address.port < FIRST_FREE_PORT);
  return [
    ...(user === undefined ? [] : [`User=${plainValue(user)}`]),
    ...(group === undefined ? [] : [`Group=${plainValue(group)}`]),
    ...(isRoot
      ? []
      : [
          "# /run/holdfast is root's. `holdfast status` finds this keeper with the same variable, as the same user.",
          `RuntimeDirectory=holdfast-${name}`,
          'RuntimeDirectoryMode=0700',
          'RuntimeDirectoryPreserve=restart',
          `Environment=HOLDFAST_STATE_DIR=/run/holdfast-${name}`,
        ]),
    ...(isRoot || !bindsLow ? [] : ['AmbientCapabilities=CAP_NET_BIND_SERVICE']),
  ];
}

function socketFile(name: string, request: ListenRequest, index: number): UnitFile {
  const own = request.name === '' ? `${index + 1}` : request.name.replace(/[^A-Za-z0-9._-]/g, '-');
  const text = lines([
    WRITTEN,
    '',
    '[Unit]',
    `Description=${plainValue(request.spelling)} for ${name}.service`,
    '',
    '[Socket]',
    `ListenStream=${listenStream(request)}`,
    ...(request.address.family === 'ipv6' ? [`BindIPv6Only=${request.v6only ? 'ipv6-only' : 'both'}`] : []),
    ...(request.name === '' ? [] : [`FileDescriptorName=${plainValue(request.name)}`]),
    '# As long as the kernel allows, since clients wait in it while nobody serves.',
    `Backlog=${request.backlog ?? 2 ** 31 - 1}`,
    `Service=${name}.service`,
    '',
    '[Install]',
    'WantedBy=sockets.target',
  ]);
  return { name: index === 0 ? `${name}.socket` : `${name}-${own}.socket`, text };
}

function listenStream({ address, spelling }: ListenRequest): string {
  // A port alone is a port of IPv4 where there is no IPv6.
  if (/^\d+$/.test(spelling)) return spelling;
  switch (address.family) {
    case 'unix':
      if (!/^[/@]/.test(address.path)) {
        throw unwritable(`unix:${address.path}`, 'systemd takes absolute paths of sockets');
      }
      return plainValue(address.path);
    case 'ipv6':
      return `[${address.host}]:${address.port}`;
    case 'ipv4':
      return `${address.host}:${address.port}`;
  }
}

/** A variable is none in the place of the program. */
function commandValue([program = '', ...rest]: readonly string[]): string {
  return [quoteWord(program), ...rest.map(quoteArgument)].join(' ');
}

function quoteWord(word: string): string {
  const text = word.replaceAll('%', '%%');
  if (/^[\w@:=+,./%$^~-]+$/.test(text)) return text;
  return `"${text.replace(/["\\]/g, '\\$&').replace(CONTROL, escapeControl)}"`;
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: those are meant.
const CONTROL = /[\x00-\x1f\x7f]/g;

/** NUL is in no argument of a process. */
function escapeControl(character: string): string {
  return `\\x${character.charCodeAt(0).toString(16).padStart(2, '0')}`;
}

/** A value that is taken as it stands, but for specifiers. */
function plainValue(text: string): string {
  return text.replace(CONTROL, ' ').trim().replace(/\\$/, '').replaceAll('%', '%%');
}

function directoryValue(path: string): string {
  const isExact = path.search(CONTROL) === -1 && path.trim() === path && !path.endsWith('\\');
  if (isExact) return path.replaceAll('%', '%%');
  throw unwritable(path, 'a unit file cannot name such a folder');
}

function unwritable(what: string, why: string): HoldfastError {
  return new HoldfastError('ERR_HOLDFAST_OPTION', `${JSON.stringify(what)}: ${why}`);
}

function seconds(ms: number): string {
  return `${Math.ceil(ms / 1_000)}s`;
}

function lines(all: readonly string[]): string {
  return `${all.join('\n')}\n`;
}
