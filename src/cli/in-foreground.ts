import { processStat } from '../kernel/procfs.js';

/** Whether keys of our terminal go to our process group. Who reads the terminal otherwise is stopped. @see credentials(7) */
export function isInForeground(): boolean {
  const stat = processStat('self');
  return stat !== undefined && stat.terminal !== 0 && stat.foregroundGroup === stat.processGroup;
}
