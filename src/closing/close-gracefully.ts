import type { Server } from 'node:net';
import { loadKernel } from './kernel.js';
import { type CloseOptions, closeSettings } from './options.js';
import { type CloseResult, ServerClosing } from './server-closing.js';
import { type ClosableServer, serverOf } from './target.js';

const closings = new WeakMap<Server, Promise<CloseResult>>();

/**
 * Closes a server without cutting anybody off: takes in who waits in its queue, answers what is asked, tells clients to go
 * (`Connection: close`, GOAWAY), lets them close first, and closes itself where they do not. Resolves when nothing is left,
 * at the timeout at the latest, with how many connections ended in which way. What each way costs is in docs/closing.md.
 *
 * A server that is being closed by it is not closed twice: the second call gets the result of the first. One that does not
 * listen and has no connections is closed already.
 *
 * @throws {HoldfastError} ERR_HOLDFAST_OPTION: no server, or a wrong option.
 */
export async function closeGracefully(target: ClosableServer, options?: CloseOptions): Promise<CloseResult> {
  const server = serverOf(target);
  const settings = closeSettings(options);
  const running = closings.get(server);
  if (running !== undefined) return running;
  // Loaded while everybody is served still.
  if (settings.reset) void loadKernel();
  const { done } = new ServerClosing(server, settings);
  closings.set(server, done);
  void done.then(() => closings.delete(server));
  return done;
}
