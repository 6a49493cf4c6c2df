import { commandLine, networkNamespace, processNumbers } from '../../src/kernel/procfs.js';
import { type Ended, run } from '../cli/holdfast.js';
import { holdfast } from '../support/keeper.js';
import { type Started, start } from '../support/process.js';
import { binaryOf } from '../support/requirement.js';
import { temporaryFolder } from '../support/temporary.js';
import { type Machines, type Means, must, openMachines } from './machines.js';

/** What a bed needs of the machine. */
export const NEEDS = ['netns', 'root', 'ip', 'ss', 'ssh', 'sshd', 'rshd', 'inetd'] as const;

/** Two machines, with what tests of fan do on them. */
export interface Bed extends Machines<Started> {
  /** Runs `holdfast fan` on the client's machine. */
  fan(...args: string[]): Promise<Ended>;
  /** Options that let ssh in. */
  readonly ssh: readonly string[];
  /** Pids on the server's machine, nowhere else on this system, whose command line is that or matches. */
  running(args: string | RegExp): readonly number[];
  /** How many TIME_WAITs the client's machine has on ports from 512 to 1023: what it has closed first. */
  reservedInTimeWait(): number;
}

export async function openBed(hosts: number): Promise<Bed> {
  const machines = await openMachines(hosts, meansOfTests());
  const { client, user, sshConfig } = machines;
  return {
    ...machines,
    fan: (...args) => run(client([...holdfast, 'fan', '-l', user, ...args]), { timeoutMs: 120_000 }),
    ssh: ['--ssh-arg', '-F', '--ssh-arg', sshConfig],
    running: (args) =>
      processNumbers().filter((pid) => {
        if (networkNamespace(pid) !== networkNamespace(machines.pids.server)) return false;
        const line = commandLine(pid).join(' ').trimEnd();
        return typeof args === 'string' ? line === args : args.test(line);
      }),
    reservedInTimeWait: () => {
      const filter = '( sport >= :512 and sport <= :1023 )';
      return lines(must(client([binaryOf('ss'), '-Htan', 'state', 'time-wait', filter])));
    },
  };
}

/** Machines whose processes end with the test file. */
export function meansOfTests(): Means<Started> {
  return {
    folder: temporaryFolder(),
    start: (command, how) => start(command, how && { stdio: ['pipe', 'pipe', 'pipe'] }),
    pathOf: binaryOf,
  };
}

function lines(text: string): number {
  return text.split('\n').filter((line) => line !== '').length;
}
