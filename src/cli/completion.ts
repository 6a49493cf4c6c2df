import type { Command } from 'commander';
import { HoldfastError } from '../errors.js';
import { bashScript } from './completion-bash.js';
import { fishScript } from './completion-fish.js';
import { type CompletionModel, modelOf, SHELLS, type Shell } from './completion-model.js';
import { zshScript } from './completion-zsh.js';

const SCRIPTS: Readonly<Record<Shell, (model: CompletionModel) => string>> = {
  bash: bashScript,
  zsh: zshScript,
  fish: fishScript,
};

/**
 * `holdfast completion`: prints a script that the shell loads at its start.
 *
 * @throws {HoldfastError} ERR_HOLDFAST_OPTION: no such shell.
 */
export function completion(shell: string, program: Command): void {
  const known = SHELLS.find((one) => one === shell);
  if (known === undefined) {
    const text = `there is no completion for "${shell}"; there are ${SHELLS.join(', ')}`;
    throw new HoldfastError('ERR_HOLDFAST_OPTION', text);
  }
  process.stdout.write(SCRIPTS[known](modelOf(program)));
}
