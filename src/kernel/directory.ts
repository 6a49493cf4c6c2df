import { statSync } from 'node:fs';

/**
 * The current folder, by the path that the shell came to it (PWD): a link in that is kept, and may lead elsewhere later.
 *
 * @see pwd(1) -L
 */
export function workingDirectory(): string {
  const { PWD: logical } = process.env;
  const physical = process.cwd();
  if (logical === undefined || !logical.startsWith('/')) return physical;
  const [one, other] = [statSync(logical, { throwIfNoEntry: false }), statSync(physical)];
  return one?.ino === other.ino && one.dev === other.dev ? logical : physical;
}
