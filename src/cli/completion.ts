import type { Command } from 'commander';

export function completion(_shell: string, _program: Command): void {
  process.exitCode = 2;
}
