import { errorCode } from '../errors.js';

export type ToolAnswer =
  | { readonly ok: true; readonly text: string }
  | { readonly ok: false; readonly why: string };

/** A tool that has no answer by then (a daemon that hangs) costs the user no more. */
const TIMEOUT_MS = 300;
const OUTPUT_MAX = 1 << 20;

/** Until when tools may be waited for (performance.now), where there is less time than that. */
let deadline = Number.POSITIVE_INFINITY;

/** Does work in which tools are waited for no longer than this altogether. The work is synchronous. */
export function withToolsFor<T>(ms: number, work: () => T): T {
  const before = deadline;
  deadline = Math.min(before, performance.now() + ms);
  try {
    return work();
  } finally {
    deadline = before;
  }
}

/** Asks another program, if it is there, for what only it knows. Never waits longer than 300 ms. */
export function askTool(
  program: string,
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
): ToolAnswer {
  const timeout = Math.min(TIMEOUT_MS, Math.floor(deadline - performance.now()));
  // Nothing: spawnSync would wait for ever.
  if (timeout < 1) return { ok: false, why: `there was no time to ask ${program}` };
  // Seldom needed, and with the networking that it brings a tenth of a diagnosis.
  const { spawnSync } = process.getBuiltinModule('node:child_process');
  const { error, status, signal, stdout, stderr } = spawnSync(program, args, {
    encoding: 'utf8',
    env: { ...process.env, LC_ALL: 'C', ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout,
    killSignal: 'SIGKILL',
    maxBuffer: OUTPUT_MAX,
  });
  if (status === 0) return { ok: true, text: stdout };
  return {
    ok: false,
    why: whyNot({ program, timeout, code: errorCode(error), end: status ?? signal, stderr: stderr ?? '' }),
  };
}

interface ToolFailure {
  readonly program: string;
  readonly timeout: number;
  readonly code: string | undefined;
  readonly end: number | string | null;
  readonly stderr: string;
}

function whyNot({ program, timeout, code, end, stderr }: ToolFailure): string {
  if (code === 'ENOENT') return `${program} is not installed`;
  if (code === 'ETIMEDOUT') return `${program} did not answer within ${timeout} ms`;
  const [line = ''] = stderr.trim().split('\n');
  return `${program}: ${line || code || `ended with ${end}`}`;
}
