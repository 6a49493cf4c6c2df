/**
 * For `node --import holdfast/graceful server.js`: on SIGTERM the program's servers leave without failing any client, and
 * then the program ends as by the signal alone. Until a server listens nothing is loaded, and until the signal nothing of
 * a server is touched. What it does then is told in docs/graceful.md.
 */

/** Node tells it of every net.Server, and all other servers are such. The name is of Node's lib/net.js. */
const LISTENS = 'tracing:net.server.listen';

// It imports nothing: what every start pays is this file alone.
if (process.platform === 'linux') {
  const { subscribe } = process.getBuiltinModule('node:diagnostics_channel');
  subscribe(`${LISTENS}:asyncEnd`, (message) => tryTo(() => watch(serverOf(message))));
  // It waits in its listen, and its first clients wait for all that is done after that.
  if (process.env.HOLDFAST_STANDBY !== undefined)
    subscribe(`${LISTENS}:asyncStart`, (message) => tryTo(() => prepare(serverOf(message))));
}

type Server = import('node:net').Server;

function serverOf(message: unknown): Server {
  return (message as { readonly server: Server }).server;
}

function tryTo(work: () => void): void {
  try {
    work();
  } catch {
    // Whatever it is: the program goes on, and ends as without this.
  }
}

/** Loaded now: at the signal its files may have given way to those of a newer version. */
function watch(server: Server): void {
  (load('./closing/watch.js') as typeof import('./closing/watch.js')).watch(server);
}

function prepare(server: Server): void {
  load('./closing/watch.js');
  (load('./closing/rehearse.js') as typeof import('./closing/rehearse.js')).rehearse(server);
}

function load(file: string): unknown {
  return process.getBuiltinModule('node:module').createRequire(import.meta.url)(file);
}

export {};
