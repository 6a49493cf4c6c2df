import { addToEpoll, createEpoll, EPOLLHUP, EPOLLIN, removeFromEpoll, waitForEpoll } from './epoll.js';
import { close } from './fd.js';
import { check, declare, declareAsync, type Fd } from './libc.js';

const eventfd = declare('int eventfd(unsigned int value, int flags)');
const read = declare('intptr_t read(int fd, void *bytes, size_t count)');
const write = declare('intptr_t write(int fd, const void *bytes, size_t count)');
const poolGetpid = declareAsync('int getpid()');

const CLOEXEC = 0o2000000;

/**
 * Watches fds that Node has no stream for (a seccomp notifier, pidfds). One thread of libuv's pool sleeps in
 * epoll_wait for as long as the poller is open; callbacks run on the event loop. `close` wakes that thread:
 * process.exit() would wait for it for ever.
 */
export class Poller {
  readonly #epoll: Fd;
  readonly #wake: Fd;
  readonly #callbacks = new Map<Fd, (isOver: boolean) => void>();
  #open = true;

  constructor() {
    this.#epoll = createEpoll();
    this.#wake = check('eventfd', eventfd(0, CLOEXEC));
    addToEpoll(this.#epoll, this.#wake, { events: EPOLLIN, data: BigInt(this.#wake) });
    void this.#run();
  }

  /**
   * Calls back whenever the fd is readable, as long as it is (level-triggered). `isOver`: there is nothing to read, and
   * never will be.
   */
  add(fd: Fd, whenReadable: (isOver: boolean) => void): void {
    this.#callbacks.set(fd, whenReadable);
    addToEpoll(this.#epoll, fd, { events: EPOLLIN, data: BigInt(fd) });
  }

  /** Forgets the fd. Call it before closing the fd. */
  remove(fd: Fd): void {
    if (!this.#callbacks.delete(fd)) return;
    removeFromEpoll(this.#epoll, fd);
  }

  /** Wakes the sleeping thread once, to no other effect: the first time costs more than all later ones. */
  rehearse(): void {
    this.ask(() => undefined);
  }

  /** Wakes the sleeping thread once, and calls back when it has answered. A second call takes the place of the first. */
  ask(answered: () => void): void {
    this.#callbacks.set(this.#wake, () => {
      read(this.#wake, Buffer.alloc(8), 8);
      answered();
    });
    this.#wakeUp();
  }

  /** Lets the pool's thread go. Safe in a process 'exit' handler: it blocks on nothing. */
  close(): void {
    if (!this.#open) return;
    this.#open = false;
    this.#wakeUp();
  }

  #wakeUp(): void {
    const one = Buffer.alloc(8);
    one.writeBigUInt64LE(1n, 0);
    write(this.#wake, one, one.length);
  }

  async #run(): Promise<void> {
    while (this.#open) {
      for (const { events, data } of await waitForEpoll(this.#epoll)) {
        if (!this.#open) break;
        try {
          this.#callbacks.get(Number(data))?.((events & (EPOLLIN | EPOLLHUP)) === EPOLLHUP);
        } catch (error) {
          // One callback's fault must not end the watch for all.
          setImmediate(() => {
            throw error;
          });
        }
      }
    }
    close(this.#epoll);
    close(this.#wake);
  }
}

/**
 * Starts libuv's thread pool from the calling thread. Its threads inherit that thread's seccomp filter, so this
 * must happen before any thread that has one could be the first to need the pool.
 */
export async function startThreadPool(): Promise<void> {
  await poolGetpid();
}
