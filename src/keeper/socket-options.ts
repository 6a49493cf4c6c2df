import { EOPNOTSUPP, type Fd, SyscallError } from '../kernel/libc.js';
import {
  IPPROTO_IP,
  IPPROTO_IPV6,
  IPPROTO_TCP,
  SOL_SOCKET,
  setSocketOption,
  socketOption,
} from '../kernel/socket.js';

/** An option that a program may set before bind and that its accepted connections then have. */
interface CarriedOption {
  readonly name: string;
  readonly level: number;
  readonly option: number;
  readonly size: number;
  /** A buffer size: the kernel doubles what is set, and this option sets what is beyond the system's maximum. */
  readonly force?: number;
  /** What is read while nothing is set; setting 0 unsets it. */
  readonly unset?: number;
}

const CARRIED: readonly CarriedOption[] = [
  { name: 'SO_RCVBUF', level: SOL_SOCKET, option: 8, size: 4, force: 33 },
  { name: 'SO_SNDBUF', level: SOL_SOCKET, option: 7, size: 4, force: 32 },
  // Which of the two were set: the others grow by themselves. After them, as setting one counts.
  { name: 'SO_BUF_LOCK', level: SOL_SOCKET, option: 72, size: 4 },
  { name: 'TCP_DEFER_ACCEPT', level: IPPROTO_TCP, option: 9, size: 4 },
  { name: 'TCP_FASTOPEN', level: IPPROTO_TCP, option: 23, size: 4 },
  { name: 'TCP_NODELAY', level: IPPROTO_TCP, option: 1, size: 4 },
  { name: 'SO_KEEPALIVE', level: SOL_SOCKET, option: 9, size: 4 },
  { name: 'TCP_KEEPIDLE', level: IPPROTO_TCP, option: 4, size: 4 },
  { name: 'TCP_KEEPINTVL', level: IPPROTO_TCP, option: 5, size: 4 },
  { name: 'TCP_KEEPCNT', level: IPPROTO_TCP, option: 6, size: 4 },
  { name: 'TCP_USER_TIMEOUT', level: IPPROTO_TCP, option: 18, size: 4 },
  { name: 'SO_MARK', level: SOL_SOCKET, option: 36, size: 4 },
  { name: 'SO_LINGER', level: SOL_SOCKET, option: 13, size: 8 },
  { name: 'SO_RCVLOWAT', level: SOL_SOCKET, option: 18, size: 4 },
  { name: 'IP_TOS', level: IPPROTO_IP, option: 1, size: 4 },
  { name: 'IPV6_TCLASS', level: IPPROTO_IPV6, option: 67, size: 4 },
  // After the two above, which set it too.
  { name: 'SO_PRIORITY', level: SOL_SOCKET, option: 12, size: 4 },
  { name: 'TCP_CONGESTION', level: IPPROTO_TCP, option: 13, size: 16 },
  { name: 'TCP_MAXSEG', level: IPPROTO_TCP, option: 2, size: 4, unset: 536 },
];

/**
 * Gives the held socket the options that a program has set on the fresh one it takes the place of, where they
 * differ. With an unchanged program there is nothing to do.
 *
 * @returns the names of options that differ and could not be set.
 * @see socket(7), tcp(7); sk_clone_lock() copies them to accepted connections
 */
export function carryOptions(fresh: Fd, held: Fd): readonly string[] {
  return CARRIED.filter((option) => !carry(option, fresh, held)).map((option) => option.name);
}

function carry({ level, option, size, force, unset }: CarriedOption, fresh: Fd, held: Fd): boolean {
  try {
    const wanted = socketOption(fresh, level, option, size);
    const isSame = (): boolean => wanted.equals(socketOption(held, level, option, size));
    if (isSame()) return true;
    const isUnset = unset !== undefined && wanted.readInt32LE(0) === unset;
    const value = isUnset ? Buffer.alloc(size) : force === undefined ? wanted : halfOf(wanted);
    setSocketOption(held, level, option, value);
    if (!isSame() && force !== undefined) setSocketOption(held, level, force, value);
    return isSame();
  } catch (error) {
    if (!(error instanceof SyscallError)) throw error;
    // Options of the other family, or that this kernel or protocol does not have, are no loss.
    return error.code === 'ENOPROTOOPT' || error.code === EOPNOTSUPP;
  }
}

function halfOf(value: Buffer): Buffer {
  const half = Buffer.alloc(4);
  half.writeInt32LE(Math.floor(value.readInt32LE(0) / 2), 0);
  return half;
}
