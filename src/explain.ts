/**
 * For `node --import holdfast/explain server.js`: tells on stderr who holds the port when the program dies of
 * EADDRINUSE, EADDRNOTAVAIL or EACCES. Where somebody handles the error, on other systems than Linux and in all else it
 * does nothing.
 *
 * Node prints the error itself after `uncaughtExceptionMonitor` and `exit`, and then the process is gone: so this stands
 * above it, and is told synchronously.
 */

const STDERR = 2;

// It imports nothing: what every start pays is this file alone.
if (process.platform === 'linux') {
  process.on('uncaughtExceptionMonitor', (error) => {
    try {
      if (!isHandled()) tell(error);
    } catch {
      // Whatever it is (no inet_diag, a sandbox, a closed stderr): the program's own error is what counts.
    }
  });
}

/** A thread's error comes to its main thread, and there this is asked again. */
function isHandled(): boolean {
  return (
    process.listenerCount('uncaughtException') > 0 ||
    process.hasUncaughtExceptionCaptureCallback() ||
    !process.getBuiltinModule('node:worker_threads').isMainThread
  );
}

function tell(error: unknown): void {
  // What an import gives comes later, and there is no later.
  const require = process.getBuiltinModule('node:module').createRequire(import.meta.url);
  const { addressErrorIn } = require('./errors.js') as typeof import('./errors.js');
  if (addressErrorIn(error) === undefined) return;
  const { explain } = require('./diagnosis/explain.js') as typeof import('./diagnosis/explain.js');
  const text = explain(error);
  // As Node does it, past whatever the program has made of process.stderr.
  if (text !== null) process.getBuiltinModule('node:fs').writeFileSync(STDERR, `\n${text}\n`);
}

export {};
