import { fstatSync } from 'node:fs';
import { check, declare, type Fd } from './libc.js';

const nativeOpen = declare('int open(const char *path, int flags)');
const nativeClose = declare('int close(int fd)');
const nativeDup3 = declare('int dup3(int fd, int number, int flags)');
const nativeFcntl = declare('int fcntl(int fd, int command, long argument)');

const F_DUPFD_CLOEXEC = 1030;
const F_GETFD = 1;
const F_SETFD = 2;
const F_GETFL = 3;
const F_SETFL = 4;
const FD_CLOEXEC = 1;
/** O_NONBLOCK, the same on x86-64 and arm64. */
export const O_NONBLOCK = 0o4000;
/** O_CLOEXEC as /proc/PID/fdinfo and `newfd_flags` spell it. */
export const O_CLOEXEC = 0o2000000;

/** Opens a file or folder for reading. @throws {SyscallError} ENOENT, EACCES, EMFILE … @see open(2) */
export function open(path: string): Fd {
  return check('open', nativeOpen(path, O_CLOEXEC));
}

/**
 * Uid of the owner of what the fd is open at; of a socket, that is whose SO_REUSEPORT group it may be in.
 *
 * @see fstat(2)
 */
export function ownerOf(fd: Fd): number {
  return fstatSync(fd).uid;
}

/** Closes an fd. EINTR is success here: Linux has released the number by then (close(2), NOTES). */
export function close(fd: Fd): void {
  nativeClose(fd);
}

/** Whether the fd's open file description is in non-blocking mode. @see fcntl(2) */
export function isNonBlocking(fd: Fd): boolean {
  return (check('fcntl', nativeFcntl(fd, F_GETFL, 0)) & O_NONBLOCK) !== 0;
}

/** Sets the mode of the open file description, which every duplicate in every process shares. @see fcntl(2) */
export function setNonBlocking(fd: Fd, on: boolean): void {
  const flags = check('fcntl', nativeFcntl(fd, F_GETFL, 0));
  check('fcntl', nativeFcntl(fd, F_SETFL, on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK));
}

/** Whether the number is an open fd of this process. @see fcntl(2) */
export function isOpen(fd: Fd): boolean {
  return nativeFcntl(fd, F_GETFD, 0) !== -1;
}

/** Makes the fd close-on-exec or not. @see fcntl(2) */
export function setCloseOnExec(fd: Fd, on: boolean): void {
  check('fcntl', nativeFcntl(fd, F_SETFD, on ? FD_CLOEXEC : 0));
}

/**
 * A close-on-exec duplicate of the fd, with the lowest free number from `from`.
 *
 * @throws {SyscallError} EBADF, EMFILE @see fcntl(2) F_DUPFD_CLOEXEC
 */
export function duplicate(fd: Fd, from = 3): Fd {
  return check('fcntl', nativeFcntl(fd, F_DUPFD_CLOEXEC, from));
}

/** Puts a close-on-exec duplicate of the fd at this number, whatever was there. @see dup3(2) */
export function duplicateTo(fd: Fd, number: number): void {
  check('dup3', nativeDup3(fd, number, O_CLOEXEC));
}
