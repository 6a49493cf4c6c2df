/** Does what may fail without harm: the connection that it is about stays as it is, and goes at the timeout. */
export function harmless(work: () => void): void {
  try {
    work();
  } catch {
    // Whatever it is: the program has not asked for it, and must not fail by it.
  }
}
