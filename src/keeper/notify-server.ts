import { close } from '../kernel/fd.js';
import type { Fd } from '../kernel/libc.js';
import { openNotifySocket, receiveNotifications } from '../kernel/notify-socket.js';
import type { Poller } from '../kernel/poller.js';

/** The NOTIFY_SOCKET of the servers of a keeper. @see sd_notify(3) */
export class NotifyServer {
  readonly #path: string;
  readonly #poller: Poller;
  readonly #fd: Fd;

  /**
   * `ready` is told who has said READY=1; it knows whether to believe that.
   *
   * @throws {SyscallError} as `openNotifySocket`.
   */
  constructor(name: string, poller: Poller, ready: (pid: number) => void) {
    // Its name is in no file system, so that a server of another user reaches it; who sends is checked.
    this.#path = `@holdfast/${process.pid}/${name}`;
    this.#poller = poller;
    this.#fd = openNotifySocket(this.#path);
    poller.add(this.#fd, () => {
      for (const { pid, text } of receiveNotifications(this.#fd)) {
        if (/^READY=1$/m.test(text)) ready(pid);
      }
    });
  }

  /** By which a server finds it. */
  get env(): Readonly<Record<string, string>> {
    return { NOTIFY_SOCKET: this.#path };
  }

  close(): void {
    this.#poller.remove(this.#fd);
    close(this.#fd);
  }
}
