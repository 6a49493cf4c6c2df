import { requireLinux } from '../platform.js';
import { reportFailure } from './failure.js';

/**
 * `holdfast why PORT…` without an option, as most people ask. There is nothing to parse, and the parser would take as
 * long to load as what it is for.
 */
export async function whyPorts(words: readonly string[]): Promise<void> {
  try {
    requireLinux('holdfast why');
    const { whyCommand } = await import('./why.js');
    whyCommand(words, {});
  } catch (error) {
    reportFailure(error);
  }
}
