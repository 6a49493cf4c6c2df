import type { WhyReport } from '../../src/diagnosis/report.js';
import type { Ended } from '../cli/holdfast.js';
import { holdfast } from '../support/keeper.js';
import { type Netns, openNetns } from '../support/netns.js';
import { type Started, start } from '../support/process.js';
import { binaryOf } from '../support/requirement.js';

/** The port that every scene is about: its namespace has nobody else. */
export const PORT = 7000;

/** An ordinary user without a process of its own. */
export const NOBODY = 65_534;

/** A network namespace with real processes in it. Everything ends with the test. */
export interface RunOptions {
  readonly uid?: number;
  readonly env?: Readonly<Record<string, string>>;
  readonly timeoutMs?: number;
}

export interface Scene {
  readonly netns: Netns;
  /**
   * Runs Python that makes sockets and then stays, and resolves when it says `ready`. It has `tcp(host, port, ...)`,
   * which gives a bound socket, `listener(...)`, which gives a listening one, and `client(to, port, at=None)`.
   */
  actor(code: string): Promise<Started>;
  /** `holdfast why ARGS --json` in the namespace, by another user if `uid` is given. */
  why(
    args: string,
    options?: RunOptions,
  ): Promise<{ readonly code: number | null; readonly report: WhyReport }>;
  /** Any `holdfast ARGS` in the namespace. */
  run(args: string, options?: RunOptions): Promise<Ended>;
}

const PRELUDE = `
import os, signal, socket, subprocess, sys, time
P = ${PORT}
def tcp(host, port, reuse=0, reuseport=0, v6only=None, backlog=None):
    s = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, reuse)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, reuseport)
    if v6only is not None: s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, v6only)
    s.bind((host, port))
    return s
def listener(host, port, backlog=7, **flags):
    s = tcp(host, port, **flags)
    s.listen(backlog)
    return s
def client(to, port):
    s = socket.socket(socket.AF_INET6 if ":" in to else socket.AF_INET)
    s.connect((to, port))
    return s
def ready():
    print("ready", flush=True)
    while True: signal.pause()
`;

export async function scene(sysctls: Readonly<Record<string, string>> = {}): Promise<Scene> {
  const netns = await openNetns({ sysctls });
  const run: Scene['run'] = async (args, { uid, env, timeoutMs = 30_000 } = {}) => {
    const user =
      uid === undefined ? [] : [binaryOf('setpriv'), `--reuid=${uid}`, `--regid=${uid}`, '--clear-groups'];
    const started = start(netns.command([...user, ...holdfast, ...args.split(' ')]), { env });
    const { code } = await started.end(timeoutMs);
    await started.stop();
    return { code, stdout: started.stdout, stderr: started.stderr };
  };
  return {
    netns,
    run,
    actor: async (code) => {
      const started = start(netns.command([binaryOf('python3'), '-c', `${PRELUDE}\n${code}\nready()`]));
      await started.line(/^ready$/);
      return started;
    },
    why: async (args, options) => {
      const { code, stdout, stderr } = await run(`why ${args} --json`, options);
      if (stdout === '') throw new Error(`why ${args} exited with ${code}: ${stderr}`);
      return { code, report: JSON.parse(stdout) as WhyReport };
    },
  };
}

/** The row of a bind; `options` as `plain`, `RA`, `RP` or `RA+RP`. */
export function bindOf(
  { bind, port }: WhyReport,
  host: string,
  options = 'plain',
): WhyReport['bind'][number] {
  const names = { plain: '', RA: 'SO_REUSEADDR', RP: 'SO_REUSEPORT', 'RA+RP': 'SO_REUSEADDR,SO_REUSEPORT' };
  const address = host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
  const found = bind.find((one) => one.address === address && one.options.join() === names[options as 'RA']);
  if (found === undefined)
    throw new Error(`no bind of ${address} with ${options} among ${bind.map((one) => one.address).join()}`);
  return found;
}
