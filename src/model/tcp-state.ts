/** The states of a TCP socket with the kernel's numbers. @see include/net/tcp_states.h; RFC 9293, 3.3.2 */
export const TCP_STATES = {
  ESTABLISHED: 1,
  SYN_SENT: 2,
  SYN_RECV: 3,
  FIN_WAIT1: 4,
  FIN_WAIT2: 5,
  TIME_WAIT: 6,
  CLOSE: 7,
  CLOSE_WAIT: 8,
  LAST_ACK: 9,
  LISTEN: 10,
  CLOSING: 11,
} as const;

/** As Linux spells them. */
export type TcpState = keyof typeof TCP_STATES;
