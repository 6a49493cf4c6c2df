import { release } from 'node:os';
import { errorText } from '../errors.js';
import { ptraceScope } from '../kernel/foreign-socket.js';
import { knowsNotifications } from '../kernel/seccomp.js';
import { type Copying, judgeCopying, judgeMemory, judgeYama, tryCopying } from './copying.js';
import { acceptQueue, ipv6, lowPorts, socketLists, steering, stopFilter } from './network.js';
import { cgroups, childrenLists, judgeDirectory, pidfds, privilegeGain } from './processes.js';
import { type Finding, no, type Part, yes } from './report.js';
import { judgeTrap, judgeWaitKillable, tryTrap } from './trap.js';

/** What only the keeper knows. */
export interface Surroundings {
  /** Gives the folder of the keepers' state. @throws {HoldfastError} ERR_HOLDFAST_STATE_DIRECTORY */
  readonly stateDirectory: () => string;
  /** Whether a keeper runs around this process. */
  readonly underKeeper: boolean;
}

interface Probe {
  readonly name: string;
  readonly required: boolean;
  readonly look: () => Finding;
}

/** Every part, in the order in which a keeper comes to need it. */
export async function examineLinux({ stateDirectory, underKeeper }: Surroundings): Promise<readonly Part[]> {
  const trap = await tryTrap();
  const copying: Copying = await tryCopying();
  const probes: readonly Probe[] = [
    { name: 'kernel', required: true, look: () => judgeKernel(release()) },
    { name: 'seccomp notifier', required: true, look: notifications },
    { name: 'trap', required: true, look: () => judgeTrap(trap, underKeeper) },
    { name: 'killable wait', required: false, look: () => judgeWaitKillable(trap) },
    { name: 'pidfd', required: true, look: pidfds },
    { name: "server's memory", required: true, look: () => judgeMemory(copying) },
    { name: "server's sockets", required: true, look: () => judgeCopying(copying) },
    { name: 'Yama', required: false, look: () => judgeYama(ptraceScope(), copying.mayTraceAll) },
    { name: 'privileges', required: false, look: privilegeGain },
    { name: 'steering', required: true, look: steering },
    { name: 'orderly stop', required: false, look: stopFilter },
    { name: 'socket lists', required: true, look: socketLists },
    { name: 'process lists', required: false, look: childrenLists },
    { name: 'cgroup v2', required: false, look: cgroups },
    { name: 'IPv6', required: false, look: ipv6 },
    { name: 'accept queue', required: false, look: acceptQueue },
    { name: 'low ports', required: false, look: lowPorts },
    { name: 'state folder', required: true, look: () => judgeDirectory(stateDirectory()) },
  ];
  return probes.map(({ name, required, look }) => ({ name, required, ...outcomeOf(look) }));
}

/** Whether this release, e.g. `6.1.0-18-amd64`, is 5.9 or later. */
export function judgeKernel(text: string): Finding {
  const [, major = '0', minor = '0'] = /^(\d+)\.(\d+)/.exec(text) ?? [];
  const found = `Linux ${text}`;
  if (Number(major) > 5 || (Number(major) === 5 && Number(minor) >= 9)) return yes(found);
  return no(found, 'Linux 5.9 or later is needed');
}

function notifications(): Finding {
  if (knowsNotifications()) return yes('the kernel has seccomp user notification');
  return no(
    'no seccomp user notification',
    'use a Linux kernel with CONFIG_SECCOMP_FILTER, not gVisor; in a container, a profile that allows seccomp(2)',
  );
}

/** A part that fails in a way nobody foresaw does not work either. */
function outcomeOf(look: () => Finding): Finding {
  try {
    return look();
  } catch (error) {
    return no(errorText(error));
  }
}
