/**
 * For `node --import holdfast/graceful server.js`: on SIGTERM the program's servers leave without failing any client, and
 * then the program ends as by the signal alone. Until a server listens nothing is loaded, and until the signal nothing of
 * a server is touched. What it does then is told in docs/graceful.md.
 */

/** Node tells it of every net.Server, and all other servers are such. The name is of Node's lib/net.js. */
const LISTENING = 'tracing:net.server.listen:asyncEnd';

// It imports nothing: what every start pays is this file alone.
if (process.platform === 'linux') {
  process.getBuiltinModule('node:diagnostics_channel').subscribe(LISTENING, (message) => {
    try {
      watch((message as { readonly server: import('node:net').Server }).server);
    } catch {
      // Whatever it is: the program goes on, and ends as without this.
    }
  });
}

/** Loaded now: at the signal its files may have given way to those of a newer version. */
function watch(server: import('node:net').Server): void {
  const require = process.getBuiltinModule('node:module').createRequire(import.meta.url);
  (require('./closing/watch.js') as typeof import('./closing/watch.js')).watch(server);
}

export {};
