const pids = new Set<number>();

/** Processes that a keeper starts for itself: no server's, and Node itself waits for their end. */
export const ownProcesses = {
  add: (pid: number | undefined): void => {
    if (pid !== undefined) pids.add(pid);
  },
  delete: (pid: number | undefined): void => {
    if (pid !== undefined) pids.delete(pid);
  },
  has: (pid: number): boolean => pids.has(pid),
};
