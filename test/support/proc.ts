import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { until, type WaitOptions } from './wait.js';

export interface OpenFile {
  readonly fd: number;
  /** As /proc spells it, for example `socket:[4711]`. */
  readonly target: string;
  /** Of a socket only. */
  readonly inode: number | undefined;
}

export interface FdInfo {
  readonly flags: number;
  readonly closeOnExec: boolean;
  readonly nonBlocking: boolean;
  readonly text: string;
}

export interface TcpSocket {
  readonly host: string;
  readonly port: number;
  readonly peerHost: string;
  readonly peerPort: number;
  /** As Linux spells it: LISTEN, TIME_WAIT ... */
  readonly state: string;
  readonly inode: number;
  /** Bytes not yet read; of a listener, connections not yet accepted. */
  readonly receiveQueue: number;
  readonly sendQueue: number;
}

/** The open files of a process; none once it is gone. @see proc_pid_fd(5) */
export function openFiles(pid: number): OpenFile[] {
  const files = names(`/proc/${pid}/fd`).map((fd) => {
    const target = attempt(() => readlinkSync(`/proc/${pid}/fd/${fd}`));
    const inode = target === undefined ? undefined : /^socket:\[(\d+)\]$/.exec(target)?.[1];
    return { fd: Number(fd), target, inode: inode === undefined ? undefined : Number(inode) };
  });
  return files.filter((file): file is OpenFile => file.target !== undefined);
}

/** @see proc_pid_fdinfo(5) */
export function fdInfo(pid: number, fd: number): FdInfo {
  const text = readFileSync(`/proc/${pid}/fdinfo/${fd}`, 'utf8');
  const flags = Number.parseInt(/^flags:\s*(\d+)/m.exec(text)?.[1] ?? '0', 8);
  return { flags, closeOnExec: (flags & 0o2000000) !== 0, nonBlocking: (flags & 0o4000) !== 0, text };
}

/** Every TCP socket of this network namespace, or of that of process `pid`. @see proc_pid_net(5) */
export function tcpSockets(pid: number | 'self' = 'self'): TcpSocket[] {
  return ['tcp', 'tcp6'].flatMap((file) =>
    (attempt(() => readFileSync(`/proc/${pid}/net/${file}`, 'utf8')) ?? '')
      .split('\n')
      .slice(1)
      .filter((line) => line !== '')
      .map(parseTcpLine),
  );
}

/** The listening sockets on a port, of whatever address. */
export function listeners(port: number, pid: number | 'self' = 'self'): TcpSocket[] {
  return tcpSockets(pid).filter((socket) => socket.state === 'LISTEN' && socket.port === port);
}

/** The inode of the one socket that listens on the port; undefined when there is none, or more than one. */
export function listeningInode(port: number, pid: number | 'self' = 'self'): number | undefined {
  const found = listeners(port, pid);
  return found.length === 1 ? found[0]?.inode : undefined;
}

/** Waits until somebody listens on the port, and gives the sockets. */
export function untilListening(
  port: number,
  { pid = 'self', ...options }: WaitOptions & { readonly pid?: number | 'self' | undefined } = {},
): Promise<TcpSocket[]> {
  const look = (): TcpSocket[] | undefined => {
    const found = listeners(port, pid);
    return found.length > 0 ? found : undefined;
  };
  return until(`somebody listens on ${port}`, look, options);
}

/** The processes that have the socket open, of those that we may look into. */
export function holdersOf(inode: number): number[] {
  return pids().filter((pid) => openFiles(pid).some((file) => file.inode === inode));
}

/** Whether the process runs; a zombie does not. */
export function isAlive(pid: number): boolean {
  const status = statOf(pid);
  return status !== undefined && status.state !== 'Z' && status.state !== 'X';
}

/** All living processes that descend from `pid`, without itself. */
export function descendantsOf(pid: number): number[] {
  const children = new Map<number, number[]>();
  for (const child of pids()) {
    const parent = statOf(child)?.parent;
    if (parent !== undefined) children.set(parent, [...(children.get(parent) ?? []), child]);
  }
  const found: number[] = [];
  for (let next = [pid]; next.length > 0; ) {
    next = next.flatMap((parent) => children.get(parent) ?? []);
    found.push(...next);
  }
  return found.filter(isAlive);
}

/** Kills `root` with its descendants, and every process whose environment has `mark`, until none is left. */
export async function killMarked(mark: string, root: number | undefined): Promise<void> {
  // With their start times: a pid that is free again may soon be a stranger's.
  const tree = (root === undefined ? [] : [root, ...descendantsOf(root)]).map((pid) => ({
    pid,
    started: statOf(pid)?.started,
  }));
  await until(`the end of every process with ${mark}`, () => {
    const family = tree.filter(({ pid, started }) => isAlive(pid) && statOf(pid)?.started === started);
    const left = [...family.map(({ pid }) => pid), ...pids().filter((pid) => hasMark(pid, mark))];
    for (const pid of left) attempt(() => process.kill(pid, 'SIGKILL')); // ESRCH: gone by itself
    return left.length === 0;
  });
}

function hasMark(pid: number, mark: string): boolean {
  const environment = attempt(() => readFileSync(`/proc/${pid}/environ`, 'utf8'));
  return environment?.split('\0').includes(mark) === true && isAlive(pid);
}

function pids(): number[] {
  return names('/proc').map(Number).filter(Number.isInteger);
}

/** @see proc_pid_stat(5) */
function statOf(pid: number): { state: string; parent: number; started: string | undefined } | undefined {
  const text = attempt(() => readFileSync(`/proc/${pid}/stat`, 'utf8'));
  // The name before it is in parentheses and may itself have them.
  const fields = text?.slice(text.lastIndexOf(')') + 2).split(' ');
  if (fields?.[0] === undefined) return undefined;
  return { state: fields[0], parent: Number(fields[1]), started: fields[19] };
}

function parseTcpLine(line: string): TcpSocket {
  const [, local = '', peer = '', state = '', queues = '', , , , , inode] = line.trim().split(/\s+/);
  const [sendQueue, receiveQueue] = queues.split(':').map((hex) => Number.parseInt(hex, 16));
  const [host, port] = parseAddress(local);
  const [peerHost, peerPort] = parseAddress(peer);
  return {
    host,
    port,
    peerHost,
    peerPort,
    state: states[Number.parseInt(state, 16)] ?? state,
    inode: Number(inode),
    receiveQueue: receiveQueue ?? 0,
    sendQueue: sendQueue ?? 0,
  };
}

/** The order of include/net/tcp_states.h. */
const states = [
  '',
  'ESTABLISHED',
  'SYN_SENT',
  'SYN_RECV',
  'FIN_WAIT1',
  'FIN_WAIT2',
  'TIME_WAIT',
  'CLOSE',
  'CLOSE_WAIT',
  'LAST_ACK',
  'LISTEN',
  'CLOSING',
  'NEW_SYN_RECV',
];

/** Addresses are printed as 32-bit words in host byte order, which is little-endian on all our platforms. */
function parseAddress(text: string): [host: string, port: number] {
  const [address = '', port = ''] = text.split(':');
  const words = address.match(/.{8}/g) ?? [];
  const bytes = words.flatMap((word) => [...Buffer.from(word, 'hex').reverse()]);
  return [bytes.length === 4 ? bytes.join('.') : parseIPv6(bytes), Number.parseInt(port, 16)];
}

function parseIPv6(bytes: number[]): string {
  const groups = Array.from({ length: 8 }, (_, i) =>
    Buffer.from(bytes.slice(2 * i, 2 * i + 2)).toString('hex'),
  );
  return new URL(`http://[${groups.join(':')}]`).hostname.slice(1, -1);
}

function names(folder: string): string[] {
  return attempt(() => readdirSync(folder)) ?? [];
}

/** What the process had; undefined when it went away meanwhile (ENOENT, ESRCH) or is not ours to see (EACCES). */
function attempt<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch {
    return undefined;
  }
}

/** Whether it is the process that keeps a keeper's fds for the next one. */
export function isHolder(pid: number): boolean {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('holdfast-holder:');
  } catch {
    return false; // ENOENT, ESRCH: it has ended
  }
}
