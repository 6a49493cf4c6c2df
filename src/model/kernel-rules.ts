/**
 * What one kernel does, as switches. Each is a rule that can be left out: `lab ablate` does so one by one to show
 * that the comparison with the live kernel would notice.
 */
export interface KernelRules {
  /** connect() passes over ports that somebody has bound. */
  readonly connectSkipsBoundPorts: boolean;
  /** A port that the kernel chose is given up when the connection fails or is reset. */
  readonly automaticPortReleased: boolean;
  /** bind() to a real IPv6 address turns IPV6_V6ONLY on. */
  readonly specificV6BindIsV6only: boolean;
  /** An address that the program gave stays after a disconnect. */
  readonly givenAddressKept: boolean;
  readonly timeWaitHoldsPort: boolean;
  /** SO_REUSEADDR on both does not help against a socket that listens. */
  readonly listenerBlocksReuse: boolean;
  /** connect() from a port that is held already takes the place of a TIME_WAIT of the same 4-tuple. */
  readonly explicitPortRecyclesTimeWait: boolean;
  /** The socket that went into TIME_WAIT must have had SO_REUSEADDR too. */
  readonly timeWaitNeedsReuse: boolean;
  /** An odd number of ports is searched as if it were one less. */
  readonly oddRangesIncomplete: boolean;
  /** The bucket remembers who bound with SO_REUSEPORT; whom it covers is not checked. */
  readonly reuseportCache: boolean;
  readonly failedBindClearsAddress: boolean;
  readonly listenRechecksPort: boolean;
  /** Flags count as they are when a conflict is checked, not as they were at bind. */
  readonly flagsReadAtCheck: boolean;
  /** bind() to port 0 with SO_REUSEADDR tries the lower half of the range first. */
  readonly lowerHalfFirst: boolean;
  readonly acceptedHoldPort: boolean;
  /** connect() moves a socket from the wildcard to the address it connects from. */
  readonly connectMovesWildcard: boolean;
  readonly v6ReuseportListenersLast: boolean;
  /** A connection over IPv6 of a dual-stack socket stands in the way of 0.0.0.0. */
  readonly dualStackConnectionBlocksV4Wildcard: boolean;
  /** `::ffff:0.0.0.0` is an address that the program gave. */
  readonly mappedAnyIsGiven: boolean;
  /** When its last binder has left, a port is open to connect() again. Linux 6.18. */
  readonly connectOnlyRestored: boolean;
  readonly timeWaitIgnoresUid: boolean;
  /** tcp_tw_reuse=2 is for loopback alone. */
  readonly twReuse2NeedsLoopback: boolean;
  readonly incomingCpuScores: boolean;
  /** bind() to one address looks at that address and the wildcards alone. */
  readonly specificBindLooksAtTwoBuckets: boolean;
  /** UDP: the first overlapping socket that shares by SO_REUSEPORT ends the search. */
  readonly udpFirstSharerDecides: boolean;
  /** The bucket remembers that all its binders had SO_REUSEADDR. Before 6.8. */
  readonly reuseaddrCache: boolean;
  /** tcp_tw_reuse waits for tcp_tw_reuse_delay; before 6.14 for a whole second. */
  readonly twReuseDelay: boolean;
  /** How conflicts of two binds are judged; the others than the kernel's are for comparison. */
  readonly bindRule: 'kernel' | 'manual page' | 'netsem';
}

export interface KernelVersion {
  readonly name: string;
  /** Every rule was compared with a live kernel; otherwise they were only read in its source. */
  readonly verified: boolean;
  readonly rules: KernelRules;
}

/** Linux 6.18, which every rule was compared with. */
export const LINUX_6_18: KernelVersion = {
  name: 'Linux 6.18',
  verified: true,
  rules: {
    connectSkipsBoundPorts: true,
    automaticPortReleased: true,
    specificV6BindIsV6only: true,
    givenAddressKept: true,
    timeWaitHoldsPort: true,
    listenerBlocksReuse: true,
    explicitPortRecyclesTimeWait: true,
    timeWaitNeedsReuse: true,
    oddRangesIncomplete: true,
    reuseportCache: true,
    failedBindClearsAddress: true,
    listenRechecksPort: true,
    flagsReadAtCheck: true,
    lowerHalfFirst: true,
    acceptedHoldPort: true,
    connectMovesWildcard: true,
    v6ReuseportListenersLast: true,
    dualStackConnectionBlocksV4Wildcard: true,
    mappedAnyIsGiven: true,
    connectOnlyRestored: true,
    timeWaitIgnoresUid: true,
    twReuse2NeedsLoopback: true,
    incomingCpuScores: true,
    specificBindLooksAtTwoBuckets: true,
    udpFirstSharerDecides: true,
    reuseaddrCache: false,
    twReuseDelay: true,
    bindRule: 'kernel',
  },
};

/** From the source of 6.14: no port is given back to connect(). */
export const LINUX_6_14: KernelVersion = {
  name: 'Linux 6.14',
  verified: false,
  rules: { ...LINUX_6_18.rules, connectOnlyRestored: false },
};

/** From kernel history: tcp_tw_reuse_delay came with 6.14. */
export const LINUX_6_8: KernelVersion = {
  name: 'Linux 6.8',
  verified: false,
  rules: { ...LINUX_6_14.rules, twReuseDelay: false },
};

/** From the source of 6.1.192. */
export const LINUX_6_1: KernelVersion = {
  name: 'Linux 6.1',
  verified: false,
  rules: { ...LINUX_6_8.rules, reuseaddrCache: true },
};

/** Newest first, each with the first release that it describes. */
const VERSIONS: readonly (readonly [major: number, minor: number, version: KernelVersion])[] = [
  [6, 18, LINUX_6_18],
  [6, 14, LINUX_6_14],
  [6, 8, LINUX_6_8],
  [0, 0, LINUX_6_1],
];

/** The rules of a kernel release such as `6.18.44-generic`; of one that we do not know, the next older ones. */
export function kernelVersion(release: string): KernelVersion {
  const [major = 0, minor = 0] = release.split('.').map((part) => Number.parseInt(part, 10) || 0);
  const [, , version] =
    VERSIONS.find(([a, b]) => major > a || (major === a && minor >= b)) ?? ([0, 0, LINUX_6_1] as const);
  // What was compared with one release is only read or hoped of a later one.
  return version.verified && (major !== 6 || minor !== 18)
    ? { ...version, name: `Linux ${major}.${minor}, as ${version.name}`, verified: false }
    : version;
}
