import { check, declare, declareAsync, type Fd } from './libc.js';

const epollCreate = declare('int epoll_create1(int flags)');
const epollCtl = declare('int epoll_ctl(int epfd, int operation, int fd, void *event)');
const epollWait = declareAsync('int epoll_wait(int epfd, void *events, int count, int timeout)');

const CLOEXEC = 0o2000000;
const EPOLL_CTL_ADD = 1;
const EPOLL_CTL_DEL = 2;
const EVENTS_MAX = 16;
/** struct epoll_event is packed on x86-64 only. */
const EVENT_SIZE = process.arch === 'x64' ? 12 : 16;
const EVENT_DATA = process.arch === 'x64' ? 4 : 8;

export const EPOLLIN = 1;
/** Always told, asked for or not: nobody is left at the other end. */
export const EPOLLHUP = 0x10;

/** What is watched for, and what the watcher gets back with an event. */
export interface EpollInterest {
  /** EPOLLIN 1 …, with flags such as EPOLLET. */
  readonly events: number;
  readonly data: bigint;
}

/** A new epoll instance, close-on-exec. @see epoll_create1(2) */
export function createEpoll(): Fd {
  return check('epoll_create1', epollCreate(CLOEXEC));
}

/** Watches an fd. @throws {SyscallError} EEXIST, EPERM: no such file can be watched. @see epoll_ctl(2) */
export function addToEpoll(epoll: Fd, fd: Fd, { events, data }: EpollInterest): void {
  const event = Buffer.alloc(EVENT_SIZE);
  event.writeUInt32LE(events, 0);
  event.writeBigUInt64LE(data, EVENT_DATA);
  check('epoll_ctl', epollCtl(epoll, EPOLL_CTL_ADD, fd, event));
}

/** @throws {SyscallError} ENOENT: it is not watched. @see epoll_ctl(2) */
export function removeFromEpoll(epoll: Fd, fd: Fd): void {
  check('epoll_ctl', epollCtl(epoll, EPOLL_CTL_DEL, fd, Buffer.alloc(EVENT_SIZE)));
}

/** Sleeps in a thread of libuv's pool until something is ready, and gives what is. @see epoll_wait(2) */
export async function waitForEpoll(epoll: Fd): Promise<readonly EpollInterest[]> {
  const events = Buffer.alloc(EVENTS_MAX * EVENT_SIZE);
  const count = await epollWait(epoll, events, EVENTS_MAX, -1);
  return Array.from({ length: Math.max(0, count) }, (_, at) => ({
    events: events.readUInt32LE(at * EVENT_SIZE),
    data: events.readBigUInt64LE(at * EVENT_SIZE + EVENT_DATA),
  }));
}
