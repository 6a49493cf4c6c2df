import { errorText } from '../errors.js';
import { sendDatagram } from '../kernel/fd-passing.js';
import type { Poller } from '../kernel/poller.js';
import type { HeldSocket } from './held.js';
import type { Notice } from './notices.js';
import type { KeeperState } from './state.js';
import type { Stage } from './turnover.js';

/** Begin of the names that held sockets have in the service manager's fd store. */
export const STORED_NAME = 'holdfast-';

/** Our end may take so much longer than the server is given: queues are emptied, and what SIGKILL leaves is looked at. */
const SLACK_MS = 10_000;

/** What the service manager is told of a keeper. */
export interface ServiceManagerHost {
  readonly say: (notice: Notice) => void;
  /** The sockets of the generation that new connections go to. */
  readonly held: () => readonly HeldSocket[];
  /** How long a new generation may take to be ready. */
  readonly readyTimeoutMs: number;
  /** From the stop signal to SIGKILL. */
  readonly stopTimeoutMs: number;
}

/**
 * The service manager above us (systemd), by sd_notify(3): it is told how far we are, that we live, and keeps copies of
 * the held sockets, which it gives back by LISTEN_FDS when it starts us again. Without one it is silent.
 */
export class ServiceManager {
  readonly #path: string | undefined;
  readonly #watchdogMs: number | undefined;
  readonly #host: ServiceManagerHost;
  /** Names of the sockets that it has copies of. */
  readonly #stored = new Set<string>();
  #stage: 'starting' | 'ready' | 'reloading' | 'stopping' = 'starting';
  #status = '';
  #watchdog: NodeJS.Timeout | undefined;
  #isHeard = true;

  /** `env`: has its NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID; undefined: there is none. */
  constructor(env: NodeJS.ProcessEnv | undefined, host: ServiceManagerHost) {
    this.#path = env?.NOTIFY_SOCKET || undefined;
    this.#watchdogMs = watchdogOf(env);
    this.#host = host;
  }

  /** The server is ready. Tells once. */
  ready(): void {
    if (this.#stage === 'starting') this.#tellReady();
  }

  /** What the keeper does is told as it begins. */
  heard({ type }: Notice): void {
    if (this.#stage === 'stopping') return;
    switch (type) {
      case 'reloading':
        this.#stage = 'reloading';
        this.#send([
          'RELOADING=1',
          // systemd tells by it whether this is the reload that it asked for.
          `MONOTONIC_USEC=${process.hrtime.bigint() / 1_000n}`,
          extendedBy(this.#host.readyTimeoutMs),
        ]);
        return;
      case 'reloaded':
      case 'reload-failed':
      case 'rolled-back':
        this.socketsChanged();
        if (this.#stage === 'reloading') this.#tellReady();
        return;
      case 'stopping':
        this.#stage = 'stopping';
        this.#send(['STOPPING=1', extendedBy(this.#host.stopTimeoutMs)]);
        return;
      default:
    }
  }

  /** One line for `systemctl status`. */
  status(state: () => KeeperState): void {
    if (this.#path === undefined) return;
    const status = statusLine(state());
    if (status === this.#status) return;
    this.#status = status;
    this.#send([`STATUS=${status}`]);
  }

  /**
   * It keeps the sockets of the one generation that new connections go to: of two at one place, clients would wait at that
   * which the next server does not get. Those that it has given us itself it has already.
   */
  socketsChanged(): void {
    if (this.#path === undefined) return;
    const held = this.#host.held().filter(({ confirmed, inherited }) => confirmed && !inherited);
    const kept = new Map(held.map((one) => [nameOf(one), one]));
    for (const [name, one] of kept) {
      if (this.#stored.has(name)) continue;
      this.#stored.add(name);
      // FDPOLL=0: a listening socket that has an event must not be dropped.
      this.#send(['FDSTORE=1', `FDNAME=${name}`, 'FDPOLL=0'], one);
    }
    for (const name of this.#stored) {
      if (kept.has(name)) continue;
      this.#stored.delete(name);
      this.#send(['FDSTOREREMOVE=1', `FDNAME=${name}`]);
    }
  }

  /**
   * WATCHDOG=1 at half of its time, when the event loop has come round and the thread that wakes the trap has answered.
   * A keeper in which one of them hangs is ended by the service manager, and started again.
   */
  startWatchdog(poller: Poller): void {
    if (this.#path === undefined || this.#watchdogMs === undefined) return;
    const look = (): void => poller.ask(() => this.#send(['WATCHDOG=1']));
    look();
    this.#watchdog = setInterval(look, this.#watchdogMs / 2);
  }

  close(): void {
    clearInterval(this.#watchdog);
  }

  #tellReady(): void {
    this.#stage = 'ready';
    // The first process of a pid namespace has another number outside, and is nobody else's main process.
    const main = process.pid === 1 ? [] : [`MAINPID=${process.pid}`];
    this.#send(['READY=1', ...main]);
  }

  #send(lines: readonly string[], held?: HeldSocket): void {
    if (this.#path === undefined) return;
    try {
      const fds = held === undefined ? [] : [held.fd];
      sendDatagram({ family: 'unix', path: this.#path }, lines.join('\n'), fds);
      this.#isHeard = true;
    } catch (error) {
      const wasHeard = this.#isHeard;
      this.#isHeard = false;
      if (!wasHeard) return;
      this.#host.say({ type: 'warning', text: `cannot tell the service manager: ${errorText(error)}` });
    }
  }
}

const STAGES: Readonly<Record<Stage, string | undefined>> = {
  steady: undefined,
  emptying: 'reloading: the former one is being stopped',
  starting: 'reloading: the next one is starting',
  discarding: 'the next one failed and is being ended',
  draining: 'the former one finishes what it has',
  parked: 'the former one is kept for a way back',
  retiring: 'the former one is being ended',
  releasing: 'its ports are being released',
  released: 'its ports are released',
  stopping: undefined,
};

/** `serving 127.0.0.1:8080, generation 2`. */
export function statusLine({ phase, sockets, generation, workers, reload }: KeeperState): string {
  const served = sockets.filter((socket) => socket.served).map(({ address }) => address);
  const count = workers.filter((worker) => worker.generation === generation).length;
  const parts = [
    [phase, ...served].join(' '),
    `generation ${generation}`,
    count > 1 ? `${count} workers` : undefined,
    STAGES[reload],
  ];
  return parts.filter((part) => part !== undefined).join(', ');
}

/** It waits for so much longer than now, where it would wait for less. */
function extendedBy(ms: number): string {
  return `EXTEND_TIMEOUT_USEC=${Math.ceil((ms + SLACK_MS) * 1_000)}`;
}

/** Undefined when nothing is expected of this process. @see sd_watchdog_enabled(3) */
function watchdogOf(env: NodeJS.ProcessEnv | undefined): number | undefined {
  const isOurs = env?.WATCHDOG_PID === undefined || env.WATCHDOG_PID === String(process.pid);
  return isOurs && /^[1-9]\d*$/.test(env?.WATCHDOG_USEC ?? '')
    ? Number(env?.WATCHDOG_USEC) / 1_000
    : undefined;
}

function nameOf(held: HeldSocket): string {
  return `${STORED_NAME}${held.inode}`;
}
