import type { SocketReport, WhyReport } from './report.js';
import { decisive } from './verdict.js';

/** The sockets for which a plain bind fails: at the host that was asked for, or at the wildcards. */
export function blockersOf({ bind, sockets }: WhyReport): readonly SocketReport[] {
  const names = new Set(decisive(bind).flatMap(({ because }) => because));
  return sockets.filter(({ cookie }) => names.has(`cookie:${cookie}`));
}
