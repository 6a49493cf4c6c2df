const nobodyWakes = new Int32Array(new SharedArrayBuffer(4));

/** Blocks the calling thread. Only where nothing else may go on meanwhile. */
export function pauseThread(ms: number): void {
  Atomics.wait(nobodyWakes, 0, 0, ms);
}
