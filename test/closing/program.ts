import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { NodeVersion } from '../../scripts/requirements.js';
import type { Fd } from '../../src/kernel/libc.js';
import { project } from '../cli/holdfast.js';
import { freePort } from '../support/ports.js';
import { listeners } from '../support/proc.js';
import { type Started, start } from '../support/process.js';
import { binaryOf } from '../support/requirement.js';
import { temporaryFolder } from '../support/temporary.js';
import { until } from '../support/wait.js';

export const KINDS = ['http', 'https', 'http2', 'http2-secure', 'express', 'fastify', 'net'] as const;
export type Kind = (typeof KINDS)[number];

export interface ProgramOptions {
  /** Default: the Node that runs this. */
  readonly node?: NodeVersion | undefined;
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** Default: one that is free. */
  readonly port?: number;
  /** A listening socket that the program inherits, in the place of a port. */
  readonly fd?: Fd;
  /** Default: holdfast/graceful. */
  readonly preload?: readonly string[];
  /** What stands before the command line. */
  readonly around?: readonly string[];
}

export interface Program {
  readonly port: number;
  readonly started: Started;
}

/** The project's own folder has the package `holdfast`, as a program's node_modules would. */
export const PRELOAD: readonly string[] = ['--import', 'holdfast/graceful'];

/** The file of servers of every kind. */
export const nodeKinds: string = fileURLToPath(new URL('../servers/node-kinds.js', import.meta.url));

/** No connection is idle for so long, and none is cut off, where a test says nothing else. */
const LONG = { HOLDFAST_GRACEFUL_QUIET_MS: '60000', HOLDFAST_GRACEFUL_TIMEOUT_MS: '100000' };

/** Starts a server of test/servers/node-kinds.js, and waits until it listens. */
export async function serve(kind: Kind, options: ProgramOptions = {}): Promise<Program> {
  const program = await run([nodeKinds, kind], options);
  await program.started.line(/^listens$/, { timeoutMs: 20_000 });
  return program;
}

/** Runs a program that says `listens` when it does, and waits for that. `extension`: `.cjs` or `.mjs`. */
export async function serveSource(
  source: string,
  { extension = '.cjs', ...options }: ProgramOptions & { readonly extension?: string } = {},
): Promise<Program> {
  const program = await runSource(source, { extension, ...options });
  await program.started.line(/^listens$/, { timeoutMs: 20_000 });
  return program;
}

export function runSource(
  source: string,
  { extension = '.cjs', ...options }: ProgramOptions & { readonly extension?: string } = {},
): Promise<Program> {
  const file = join(temporaryFolder(), `program${extension}`);
  writeFileSync(file, source);
  return run([file], options);
}

async function run(
  args: readonly string[],
  { node, env, port, fd, preload = PRELOAD, around = [] }: ProgramOptions,
): Promise<Program> {
  const command = node === undefined ? process.execPath : binaryOf(node);
  const at = port ?? (fd === undefined ? await freePort() : 0);
  const started = start([...around, command, ...preload, ...args], {
    cwd: project,
    env: {
      ...{ NODE_OPTIONS: undefined, PORT: `${at}`, FD: fd === undefined ? undefined : '3' },
      ...LONG,
      ...env,
    },
    stdio: ['ignore', 'pipe', 'pipe', ...(fd === undefined ? [] : [fd])],
  });
  return { port: at, started };
}

/** Sends the signal and waits until the program's listening sockets are closed. Gives when it was sent. */
export async function askToLeave(
  { started, port }: Program,
  signal: NodeJS.Signals = 'SIGTERM',
): Promise<number> {
  const atMs = performance.now();
  started.kill(signal);
  await until(`nobody listens on ${port}`, () => listeners(port).length === 0);
  return atMs;
}
