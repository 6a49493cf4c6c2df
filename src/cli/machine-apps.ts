import { homedir } from 'node:os';
import { relative } from 'node:path';
import type { WrittenApp } from '../apps/schema.js';
import { type Draft, distinctNames } from '../apps/write.js';
import { withToolsFor } from '../diagnosis/ask-tool.js';
import { ownerOf } from '../diagnosis/owner.js';
import type { ProcessReport } from '../diagnosis/process.js';
import type { WhyReport } from '../diagnosis/report.js';
import { whyPorts } from '../diagnosis/why.js';
import { tcpListeners } from '../kernel/sock-diag.js';
import { defaultName } from '../model/keeper-name.js';
import { programOf } from '../model/program.js';

/** What runs on this machine, as apps. */
export interface MachineApps {
  readonly drafts: readonly Draft[];
  /** On what was left out. */
  readonly notes: readonly string[];
}

interface Found {
  readonly process: ProcessReport;
  readonly addresses: readonly string[];
}

/** For docker, podman and systemctl together. */
const TOOLS_MS = 1_000;

/** The servers of this user that listen at TCP ports. `folder`: where the file will be. */
export function appsOfMachine(folder: string): MachineApps {
  const ports = [...new Set(tcpListeners().map(({ local }) => local.port))].sort((a, b) => a - b);
  const reports =
    ports.length === 0 ? [] : withToolsFor(TOOLS_MS, () => whyPorts(undefined, ports, { probe: false }));
  const found = serversIn(reports);
  const left = found.filter((one) => whoHas(one.process) !== undefined);
  const taken = found.filter((one) => !left.includes(one));
  const names = distinctNames(taken.map(({ process }) => nameOf(process)));
  return {
    drafts: taken.map((one, index) => draftOf(names[index] ?? '', one, folder)),
    notes: left.map((one) => `Left out: ${shown(one)}, which ${whoHas(one.process)}.`),
  };
}

/** Every process of this user that is the owner of a listener, with all its addresses, in the order of its first port. */
function serversIn(reports: readonly WhyReport[]): readonly Found[] {
  const found = new Map<number, { process: ProcessReport; addresses: string[] }>();
  for (const { sockets, processes } of reports) {
    for (const socket of sockets.filter(({ state }) => state === 'LISTEN')) {
      const owner = ownerOf(socket, processes);
      if (owner === undefined || owner.uid !== process.geteuid?.() || owner.kernelThread) continue;
      const one = found.get(owner.pid) ?? { process: owner, addresses: [] };
      if (!one.addresses.includes(socket.local)) one.addresses.push(socket.local);
      found.set(owner.pid, one);
    }
  }
  return [...found.values()];
}

/** Who looks after a process already; undefined when it can be taken over. */
function whoHas({ supervisor }: ProcessReport): string | undefined {
  switch (supervisor?.kind) {
    case 'holdfast':
      return `holdfast runs as "${supervisor.name}"`;
    case 'systemd':
    case 'systemd-socket':
      return `is systemd's (${supervisor.name})`;
    case 'container':
      return `is a container's (${supervisor.name})`;
    default:
      return undefined;
  }
}

function draftOf(name: string, { process, addresses }: Found, folder: string): Draft {
  const { cmdline, exe, cwd, pid, supervisor } = process;
  const isTitle = hasTitle(process);
  const directory = cwd === null || cwd === folder ? undefined : seenFrom(folder, cwd);
  const app: WrittenApp = {
    command: isTitle ? [exe ?? name] : [...cmdline],
    ...(directory === undefined ? {} : { directory }),
  };
  const again = supervisor !== null && supervisor.restarts !== 'ends';
  const stop = supervisor?.stop?.join(' ');
  return {
    name,
    app,
    notes: [
      `Listens at ${addresses.join(', ')} (pid ${pid}); end it before holdfast up.`,
      ...(again
        ? [
            `${supervisor.name} starts it again: ${stop === undefined ? 'stop it there' : `first run ${stop}`}.`,
          ]
        : []),
      ...(isTitle ? ['It has put a title over its command line: add the arguments.'] : []),
      ...(cwd === null ? ['Its folder cannot be seen: add directory.'] : []),
    ],
  };
}

/** That of its folder, unless that is nobody's in particular; then its program's. */
function nameOf(process: ProcessReport): string {
  const { cmdline, cwd, comm } = process;
  const isOwn = cwd !== null && cwd !== '/' && cwd !== homedir() && cwd !== '/tmp' && !hasTitle(process);
  return defaultName(isOwn ? cwd : (programOf(cmdline).name || comm).replace(/\.(?:[cm]?js|py)$/, ''));
}

/** Whether it has written over its command line, as `nginx: master process` does. */
function hasTitle({ cmdline }: ProcessReport): boolean {
  return cmdline.length === 0 || /^[\w.-]+: /.test(cmdline[0] ?? '');
}

/** Without arguments, which may be secrets. */
function shown({ process: { cmdline, comm, pid }, addresses }: Found): string {
  return `${programOf(cmdline).name || comm} (pid ${pid}, ${addresses.join(', ')})`;
}

function seenFrom(folder: string, directory: string): string {
  const path = relative(folder, directory);
  return path.startsWith('..') ? directory : path;
}
