import { say } from './say.js';
import { describeAll, exitCodeOf } from './why-answer.js';
import { type Asked, reportsOn } from './why-reports.js';

export interface WhyFlags extends Asked {
  readonly json?: boolean;
}

/**
 * `holdfast why [HOST:]PORT…`: exit 0 when a plain bind is expected to succeed, 1 when somebody or something has a port, 3
 * when it cannot be told, 4 when nobody has it and a bind fails for another reason.
 */
export function whyCommand(words: readonly string[], flags: WhyFlags): void {
  const reports = reportsOn(words, flags);
  if (flags.json) {
    // One object for one port: what the library gives.
    const [only] = reports;
    const one = reports.length === 1 && !flags.all ? only : reports;
    say(`${JSON.stringify(one, null, 2)}\n`);
  } else {
    say(describeAll(reports, flags));
  }
  process.exitCode = exitCodeOf(reports);
}
