import { chownSync, fchmodSync, unlinkSync } from 'node:fs';
import { close } from './fd.js';
import { receiveDatagram } from './fd-passing.js';
import { check, declare, type Fd } from './libc.js';
import { encodeSocketAddress } from './sockaddr.js';
import { SOL_SOCKET, setSocketOption } from './socket.js';

const socket = declare('int socket(int family, int type, int protocol)');
const bind = declare('int bind(int fd, const void *address, uint32_t length)');

const AF_UNIX = 1;
const SOCK_DGRAM = 2;
const SOCK_NONBLOCK = 0o4000;
const SOCK_CLOEXEC = 0o2000000;
const SO_PASSCRED = 16;

/** systemd takes 4 KiB. */
const TEXT_MAX = 16_384;
/** A cmsghdr and a ucred, which comes first. There is no room for fds behind it, so the kernel closes them. */
const CONTROL = 16 + 16;
/** So that a sender that does not stop cannot keep the event loop. */
const READS_MAX = 256;

/** What a program has said by sd_notify(3). */
export interface Notification {
  /**
   * Who sent it, in our pid namespace; 0 when it is none of that. It may have ended since. A sender with CAP_SYS_ADMIN
   * may name another process: root's systemd-notify names its parent.
   */
  readonly pid: number;
  /** Its real user. */
  readonly uid: number;
  /** `READY=1`, with further assignments on lines of their own. */
  readonly text: string;
}

/**
 * A non-blocking datagram socket for the NOTIFY_SOCKET of a server, for a Poller. Its file is for one user, ours or the
 * one given, and for root; that user must be able to enter the folder. The caller closes the fd and removes the file.
 *
 * @throws {SyscallError} EADDRINUSE: the path exists. ENOENT: its folder does not. {Error} EPERM: `uid` needs CAP_CHOWN.
 * @see unix(7), sd_notify(3)
 */
export function openNotifySocket(path: string, uid?: number): Fd {
  const fd = check('socket', socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  try {
    setSocketOption(fd, SOL_SOCKET, SO_PASSCRED, Buffer.from([1, 0, 0, 0]));
    // The file gets the mode of the socket: unix_bind_bsd() in net/unix/af_unix.c. A umask would be the whole process's.
    fchmodSync(fd, 0o600);
    const at = { family: 'unix', path } as const;
    const sockaddr = encodeSocketAddress(at);
    check('bind', bind(fd, sockaddr, sockaddr.length), at);
    if (uid !== undefined) giveFile(path, uid);
    return fd;
  } catch (error) {
    close(fd);
    throw error;
  }
}

function giveFile(path: string, uid: number): void {
  try {
    chownSync(path, uid, -1);
  } catch (error) {
    unlinkSync(path);
    throw error;
  }
}

/**
 * All that has arrived, up to some hundreds; the fd stays readable when there is more. Does not wait. Fds that come
 * along are closed, which is the answer that BARRIER=1 waits for. Longer messages than 16 KiB are left out.
 *
 * @see recvmsg(2), unix(7) SCM_CREDENTIALS
 */
export function receiveNotifications(fd: Fd): readonly Notification[] {
  const notifications: Notification[] = [];
  for (let reads = 0; reads < READS_MAX; reads++) {
    const next = receiveDatagram(fd, { textMax: TEXT_MAX, controlMax: CONTROL });
    if (next === undefined) break;
    const { text, isCut, control } = next;
    if (!isCut) notifications.push({ pid: control.readInt32LE(16), uid: control.readUInt32LE(20), text });
  }
  return notifications;
}
