import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { type Finding, limited, no, yes } from './report.js';

/** What came of installing a trap. `code` is that of the call that failed. */
export type TrapTrial =
  | { readonly installed: true; readonly waitKillable: boolean }
  | { readonly installed: false; readonly code: string };

/** Installs a trap on a thread of its own, which then ends: a filter cannot be taken off. */
export async function tryTrap(): Promise<TrapTrial> {
  const thread = new Worker(new URL('./trap-thread.js', import.meta.url));
  const [trial] = (await once(thread, 'message')) as [TrapTrial];
  await thread.terminate();
  return trial;
}

/** `underKeeper`: a keeper runs around this process. */
export function judgeTrap(trial: TrapTrial, underKeeper: boolean): Finding {
  if (trial.installed) return yes("a server's bind and listen can be trapped");
  switch (trial.code) {
    case 'EBUSY':
      if (underKeeper) {
        return limited(
          'a keeper runs around this process (EBUSY): it keeps the port, and one in it only starts the server again',
        );
      }
      return no(
        'something around this process, such as a container runtime, has a seccomp notifier already (EBUSY)',
        'run holdfast outside of it, or name the addresses with --listen',
      );
    case 'EPERM':
      return no(
        'a seccomp profile around this process refuses seccomp(2) (EPERM)',
        'allow seccomp(2) in the profile, or name the addresses with --listen',
      );
    default:
      return no(
        `a server's bind and listen cannot be trapped (${trial.code})`,
        'name the addresses with --listen',
      );
  }
}

export function judgeWaitKillable(trial: TrapTrial): Finding {
  if (!trial.installed) return no('there is no trap');
  if (trial.waitKillable) return yes('signals do not disturb a server that waits for the keeper');
  return limited(
    'a signal can interrupt a server that waits for the keeper, whose bind or listen then begins anew',
    'Linux 5.19 or later',
  );
}
