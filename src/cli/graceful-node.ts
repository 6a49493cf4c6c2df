/** So much before SIGKILL the server cuts off by itself who is still connected, and ends by the stop signal. */
const BEFORE_KILL_MS = 1_000;

/** That of the server, which is there already: by whatever name. */
const PRELOADED = /holdfast\/graceful|\/dist\/graceful\.js/;

/**
 * The environment in which every Node below has holdfast/graceful, at the stop signal of `run` and with its time; what
 * is set already stays. In a process that never listens it does nothing.
 */
export function gracefulNode(
  env: NodeJS.ProcessEnv,
  { stopSignal, stopTimeoutMs }: { readonly stopSignal: NodeJS.Signals; readonly stopTimeoutMs: number },
): NodeJS.ProcessEnv {
  const options = env.NODE_OPTIONS ?? '';
  // A URL has no spaces, which would need quotes.
  const preload = `--import=${new URL('../graceful.js', import.meta.url).href}`;
  return {
    HOLDFAST_GRACEFUL_SIGNAL: stopSignal === 'SIGKILL' ? undefined : stopSignal,
    HOLDFAST_GRACEFUL_TIMEOUT_MS: `${Math.max(0, Math.round(stopTimeoutMs) - BEFORE_KILL_MS)}`,
    ...env,
    NODE_OPTIONS: PRELOADED.test(options) ? options : `${options} ${preload}`.trim(),
  };
}
