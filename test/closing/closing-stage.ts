import { fileURLToPath } from 'node:url';
import type { NodeVersion } from '../../scripts/requirements.js';
import type { CloseOptions } from '../../src/closing/options.js';
import type { PeerClosesOptions } from '../../src/closing/peer-closes.js';
import type { CloseResult } from '../../src/closing/server-closing.js';
import type { Fd } from '../../src/kernel/libc.js';
import { type Netns, openNetns } from '../support/netns.js';
import { type TcpSocket, tcpSockets } from '../support/proc.js';
import { type Started, start } from '../support/process.js';
import { binaryOf } from '../support/requirement.js';
import { until } from '../support/wait.js';

export type ClosingKind = 'http' | 'https' | 'http2' | 'http2-secure' | 'net' | 'tls';

export interface ServerOptions {
  readonly delayMs?: number;
  readonly counted?: boolean;
  readonly peerCloses?: PeerClosesOptions;
  readonly close?: Omit<CloseOptions, 'onProgress' | 'signal'>;
  readonly host?: string;
  readonly node?: NodeVersion | undefined;
  /** A listening socket that the server inherits. */
  readonly fd?: Fd;
}

export interface LoadOptions {
  readonly port: number;
  readonly host?: string;
  readonly kind?: 'http' | 'https' | 'http2' | 'http2-secure' | 'tcp';
  readonly clients?: number;
  readonly requests?: number;
  readonly keepAlive?: boolean;
  /** Somebody goes on when the server is gone: a refused connection is a fault, and SIGTERM ends the load. */
  readonly successor?: boolean;
}

export interface LoadResult {
  readonly answered: number;
  readonly refused: number;
  /** By reason, requests without a complete answer. */
  readonly lost: Readonly<Record<string, number>>;
  readonly perSecond: number;
  /** What the slowest answer took. */
  readonly longestMs: number;
}

/** What countClosings said when the server was closed. */
export interface Counts {
  readonly open: number;
  readonly peerFirst: number;
  readonly weFirst: number;
  readonly reset: number;
  readonly timeWait: number;
}

export interface ClosingServer {
  readonly port: number;
  readonly started: Started;
  /** Asks it to close, and gives what closeGracefully said. */
  close(): Promise<CloseResult & { readonly counts: Counts }>;
}

/** A network namespace in which every TIME_WAIT can be counted: none is used again before its time. */
export function openStage(): Promise<Netns> {
  return openNetns({ sysctls: { 'net.ipv4.tcp_tw_reuse': '0' } });
}

/** Starts test/servers/closing.js in the namespace. */
export async function startServer(
  netns: Netns,
  kind: ClosingKind,
  { node, fd, ...options }: ServerOptions = {},
): Promise<ClosingServer> {
  const program = node === undefined ? process.execPath : binaryOf(node);
  const given = JSON.stringify({ ...options, fd: fd === undefined ? undefined : 3 });
  const started = start(netns.command([program, fixture('servers/closing.js'), kind, given]), {
    stdio: ['ignore', 'pipe', 'pipe', ...(fd === undefined ? [] : [fd])],
  });
  const [, port] = await started.line(/^listens (\d+)$/, { timeoutMs: 20_000 });
  return {
    port: Number(port),
    started,
    close: async () => {
      started.kill('SIGTERM');
      const [, result] = await started.line(/^closed (.*)$/, { timeoutMs: 30_000 });
      return JSON.parse(result ?? '');
    },
  };
}

export interface RunningLoad {
  readonly started: Started;
  /** When all requests have been answered, or the server is gone. */
  result(): Promise<LoadResult>;
}

/** Starts test/support/closing-load.js in the namespace, and waits for its first answer. */
export async function startLoad(netns: Netns, options: LoadOptions): Promise<RunningLoad> {
  const program = [process.execPath, fixture('support/closing-load.js'), JSON.stringify(options)];
  const started = start(netns.command(program));
  await started.line(/^loads$/, { timeoutMs: 20_000 });
  return {
    started,
    result: async () => {
      const [, result] = await started.line(/^load (.*)$/, { timeoutMs: 60_000 });
      return JSON.parse(result ?? '') as LoadResult;
    },
  };
}

/** No namespace of its own: for what is not counted by the kernel. */
export const HERE: Netns = {
  pid: process.pid,
  command: (command) => [...command],
  close: async () => undefined,
};

/** TIME_WAIT of the namespace, at the server and with its clients, when every connection that was begun is closed. */
export async function timeWaits(
  { pid }: Netns,
  port: number,
): Promise<{ readonly server: number; readonly clients: number }> {
  const left = await until('every connection is closed', () => {
    const sockets = tcpSockets(pid).filter(({ state }) => state !== 'LISTEN');
    return sockets.every(({ state }) => state === 'TIME_WAIT') && sockets;
  });
  const at = (which: keyof Pick<TcpSocket, 'port' | 'peerPort'>): number =>
    left.filter((socket) => socket[which] === port).length;
  return { server: at('port'), clients: at('peerPort') };
}

function fixture(path: string): string {
  return fileURLToPath(new URL(`../${path}`, import.meta.url));
}
