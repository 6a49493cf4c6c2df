/** A TCP port that no other test gets while this process lives, and that no socket has now, not even in TIME_WAIT. */
export function freePort(): Promise<number>;

/** So many of them; not always neighbours. */
export function freePorts(count: number): Promise<number[]>;
