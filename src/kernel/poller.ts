import { close } from './fd.js';
import { check, declare, declareAsync, type Fd } from './libc.js';

const epollCreate = declare('int epoll_create1(int flags)');
const epollCtl = declare('int epoll_ctl(int epfd, int operation, int fd, void *event)');
const epollWait = declareAsync('int epoll_wait(int epfd, void *events, int count, int timeout)');
const eventfd = declare('int eventfd(unsigned int value, int flags)');
const write = declare('intptr_t write(int fd, const void *bytes, size_t count)');
const poolGetpid = declareAsync('int getpid()');

const CLOEXEC = 0o2000000;
const EPOLLIN = 1;
const EPOLL_CTL_ADD = 1;
const EPOLL_CTL_DEL = 2;
const EVENTS = 16;
/** struct epoll_event is packed on x86-64 only. */
const EVENT_SIZE = process.arch === 'x64' ? 12 : 16;
const EVENT_DATA = process.arch === 'x64' ? 4 : 8;

/**
 * Watches fds that Node has no stream for (a seccomp notifier, pidfds). One thread of libuv's pool sleeps in
 * epoll_wait for as long as the poller is open; callbacks run on the event loop. `close` wakes that thread:
 * process.exit() would wait for it for ever.
 */
export class Poller {
  readonly #epoll: Fd;
  readonly #wake: Fd;
  readonly #callbacks = new Map<Fd, () => void>();
  #open = true;

  constructor() {
    this.#epoll = check('epoll_create1', epollCreate(CLOEXEC));
    this.#wake = check('eventfd', eventfd(0, CLOEXEC));
    this.#control(EPOLL_CTL_ADD, this.#wake);
    void this.#run();
  }

  /** Calls back whenever the fd is readable, as long as it is (level-triggered). */
  add(fd: Fd, whenReadable: () => void): void {
    this.#callbacks.set(fd, whenReadable);
    this.#control(EPOLL_CTL_ADD, fd);
  }

  /** Forgets the fd. Call it before closing the fd. */
  remove(fd: Fd): void {
    if (!this.#callbacks.delete(fd)) return;
    this.#control(EPOLL_CTL_DEL, fd);
  }

  /** Lets the pool's thread go. Safe in a process 'exit' handler: it blocks on nothing. */
  close(): void {
    if (!this.#open) return;
    this.#open = false;
    const one = Buffer.alloc(8);
    one.writeBigUInt64LE(1n, 0);
    write(this.#wake, one, one.length);
  }

  async #run(): Promise<void> {
    const events = Buffer.alloc(EVENTS * EVENT_SIZE);
    while (this.#open) {
      const count = await epollWait(this.#epoll, events, EVENTS, -1);
      for (let at = 0; at < count && this.#open; at++) {
        this.#callbacks.get(events.readInt32LE(at * EVENT_SIZE + EVENT_DATA))?.();
      }
    }
    close(this.#epoll);
    close(this.#wake);
  }

  #control(operation: number, fd: Fd): void {
    const event = Buffer.alloc(EVENT_SIZE);
    event.writeUInt32LE(EPOLLIN, 0);
    event.writeInt32LE(fd, EVENT_DATA);
    check('epoll_ctl', epollCtl(this.#epoll, operation, fd, event));
  }
}

/**
 * Starts libuv's thread pool from the calling thread. Its threads inherit that thread's seccomp filter, so this
 * must happen before any thread that has one could be the first to need the pool.
 */
export async function startThreadPool(): Promise<void> {
  await poolGetpid();
}
