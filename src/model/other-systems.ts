/** What another system does where two sockets want one address and port. From its documentation, not measured. */
export interface OtherSystem {
  readonly name: string;
  /** Where it is documented. */
  readonly source: string;
  readonly measured: false;
  readonly binds: readonly OtherBind[];
}

/** One case: a second TCP socket binds where a first one is. */
export interface OtherBind {
  readonly first: string;
  readonly second: string;
  readonly outcome: 'succeeds' | 'EADDRINUSE' | 'EACCES' | 'takes connections of either';
}

/** Binds of FreeBSD, macOS and Windows, from their manuals. */
export const OTHER_SYSTEMS: readonly OtherSystem[] = [
  {
    name: 'FreeBSD',
    source: 'setsockopt(2), in_pcbbind_setup() in sys/netinet/in_pcb.c',
    measured: false,
    binds: [
      { first: 'wildcard, no option', second: 'one address, no option', outcome: 'EADDRINUSE' },
      { first: 'wildcard, SO_REUSEADDR', second: 'one address, SO_REUSEADDR', outcome: 'succeeds' },
      { first: 'one address, SO_REUSEADDR', second: 'same address, SO_REUSEADDR', outcome: 'EADDRINUSE' },
      { first: 'one address, SO_REUSEPORT', second: 'same address, SO_REUSEPORT', outcome: 'succeeds' },
      { first: 'connection in TIME_WAIT', second: 'same address, SO_REUSEADDR', outcome: 'succeeds' },
      { first: 'connection in TIME_WAIT', second: 'same address, no option', outcome: 'EADDRINUSE' },
    ],
  },
  {
    name: 'macOS',
    source: 'setsockopt(2); in_pcbbind() in bsd/netinet/in_pcb.c',
    measured: false,
    binds: [
      { first: 'wildcard, no option', second: 'one address, no option', outcome: 'EADDRINUSE' },
      { first: 'wildcard, SO_REUSEADDR', second: 'one address, SO_REUSEADDR', outcome: 'succeeds' },
      { first: 'one address, SO_REUSEADDR', second: 'same address, SO_REUSEADDR', outcome: 'EADDRINUSE' },
      { first: 'one address, SO_REUSEPORT', second: 'same address, SO_REUSEPORT', outcome: 'succeeds' },
      { first: 'connection in TIME_WAIT', second: 'same address, SO_REUSEADDR', outcome: 'succeeds' },
    ],
  },
  {
    name: 'Windows',
    source: 'Using SO_REUSEADDR and SO_EXCLUSIVEADDRUSE, learn.microsoft.com',
    measured: false,
    binds: [
      { first: 'one address, no option', second: 'same address, no option', outcome: 'EADDRINUSE' },
      { first: 'one address, no option', second: 'same address, SO_REUSEADDR', outcome: 'EACCES' },
      {
        first: 'one address, SO_REUSEADDR',
        second: 'same address, SO_REUSEADDR',
        outcome: 'takes connections of either',
      },
      { first: 'one address, SO_EXCLUSIVEADDRUSE', second: 'same address, SO_REUSEADDR', outcome: 'EACCES' },
      { first: 'wildcard, SO_EXCLUSIVEADDRUSE', second: 'one address, no option', outcome: 'EADDRINUSE' },
      { first: 'connection in TIME_WAIT', second: 'same address, no option', outcome: 'succeeds' },
    ],
  },
];
