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
  /** The kernel doubles what is set, so half of what is read is set. */
  readonly doubled?: boolean;
}

const CARRIED: readonly CarriedOption[] = [
  { name: 'SO_RCVBUF', level: SOL_SOCKET, option: 8, size: 4, doubled: true },
  { name: 'SO_SNDBUF', level: SOL_SOCKET, option: 7, size: 4, doubled: true },
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
  { name: 'TCP_CONGESTION', level: IPPROTO_TCP, option: 13, size: 16 },
  { name: 'TCP_MAXSEG', level: IPPROTO_TCP, option: 2, size: 4 },
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

function carry({ level, option, size, doubled }: CarriedOption, fresh: Fd, held: Fd): boolean {
  try {
    const wanted = socketOption(fresh, level, option, size);
    if (wanted.equals(socketOption(held, level, option, size))) return true;
    if (doubled) wanted.writeInt32LE(Math.floor(wanted.readInt32LE(0) / 2), 0);
    setSocketOption(held, level, option, wanted);
    return true;
  } catch (error) {
    if (!(error instanceof SyscallError)) throw error;
    // Options of the other family, or that this kernel or protocol does not have, are no loss.
    return error.code === 'ENOPROTOOPT' || error.code === EOPNOTSUPP;
  }
}
