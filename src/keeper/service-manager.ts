import { errorText } from '../errors.js';
import { sendDatagram } from '../kernel/fd-passing.js';
import type { HeldSocket } from './held.js';
import type { Notice } from './notices.js';

/** Begin of the names that held sockets have in the service manager's fd store. */
export const STORED_NAME = 'holdfast-';

/**
 * The service manager above us (systemd), by sd_notify(3): it is told when we are ready and when we stop, and keeps
 * copies of the held sockets, which it gives back by LISTEN_FDS when it starts us again. Without one it is silent.
 */
export class ServiceManager {
  readonly #path: string | undefined;
  readonly #say: (notice: Notice) => void;
  #isReady = false;

  /** `path`: the value of NOTIFY_SOCKET. */
  constructor(path: string | undefined, say: (notice: Notice) => void) {
    this.#path = path;
    this.#say = say;
  }

  /** Tells once. */
  ready(): void {
    if (this.#isReady) return;
    this.#isReady = true;
    this.#send('READY=1');
  }

  stopping(): void {
    this.#send('STOPPING=1');
  }

  /** FDPOLL=0: a listening socket that has an event must not be dropped. */
  store(held: HeldSocket): void {
    this.#send(`FDSTORE=1\nFDNAME=${nameOf(held)}\nFDPOLL=0`, held);
  }

  remove(held: HeldSocket): void {
    this.#send(`FDSTOREREMOVE=1\nFDNAME=${nameOf(held)}`);
  }

  #send(text: string, held?: HeldSocket): void {
    if (this.#path === undefined) return;
    try {
      sendDatagram({ family: 'unix', path: this.#path }, text, held === undefined ? [] : [held.fd]);
    } catch (error) {
      this.#say({ type: 'warning', text: `cannot tell the service manager: ${errorText(error)}` });
    }
  }
}

function nameOf(held: HeldSocket): string {
  return `${STORED_NAME}${held.inode}`;
}
