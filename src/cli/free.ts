import { createInterface } from 'node:readline/promises';
import { carryOut, type FreeResult } from '../diagnosis/free.js';
import { type FreeOptions, type FreePlan, planFree } from '../diagnosis/free-plan.js';
import { why } from '../diagnosis/why.js';
import { formatDuration } from '../model/duration.js';
import { parsePort } from './port-target.js';

export interface FreeFlags {
  readonly yes?: boolean;
  readonly host?: string;
  readonly udp?: boolean;
  readonly timeWait?: boolean;
  readonly connection?: boolean;
  readonly dryRun?: boolean;
  readonly json?: boolean;
  /** Milliseconds. */
  readonly timeout: number;
}

/** Nobody could be asked. */
const NOT_ASKED = 3;

/** `holdfast free [HOST:]PORT`: exit 0 when the port is free, 1 when not, 3 when nobody could be asked. */
export async function freeCommand(word: string, flags: FreeFlags): Promise<void> {
  const { port, host } = parsePort(flags.host === undefined ? word : `${bracketed(flags.host)}:${word}`);
  const { timeWait, connection, timeout: timeoutMs } = flags;
  const options: FreeOptions = {
    port,
    host,
    protocol: flags.udp ? 'udp' : 'tcp',
    timeWait,
    connection,
    timeoutMs,
  };
  const report = why(options);
  const plan = planFree(report, options);
  if (!flags.json) process.stdout.write(describePlan(report.summary, plan));
  if (flags.dryRun) {
    if (flags.json) process.stdout.write(`${JSON.stringify({ plan, report }, null, 2)}\n`);
    process.exitCode = report.verdict === 'free' ? 0 : 1;
    return;
  }
  const isNothing = plan.steps.length === 0;
  if (!isNothing && !flags.yes && !(await isAgreed())) return;
  const result = await carryOut(plan, options);
  if (flags.json) process.stdout.write(`${JSON.stringify(result, null, 2)}\n`);
  else if (!isNothing) process.stdout.write(describeResult(result));
  process.exitCode = result.freed === 'no' ? 1 : 0;
}

function bracketed(host: string): string {
  return host.includes(':') && !host.startsWith('[') ? `[${host}]` : host;
}

/** Asks on the terminal; without one nothing is done. */
async function isAgreed(): Promise<boolean> {
  if (!process.stdin.isTTY) {
    process.stderr.write(
      'holdfast: nobody can be asked here; -y does it without asking, --dry-run only tells\n',
    );
    process.exitCode = NOT_ASKED;
    return false;
  }
  const terminal = createInterface({ input: process.stdin, output: process.stderr });
  try {
    const answer = await terminal.question('Do it? [y/N] ');
    const isYes = /^y(?:es)?$/i.test(answer.trim());
    if (!isYes) process.exitCode = 1;
    return isYes;
  } finally {
    terminal.close();
  }
}

function describePlan(summary: string, { steps, refused }: FreePlan): string {
  const lines = [summary, ...steps.map(({ text }, index) => `  ${index + 1}. ${text}`)];
  for (const text of refused) lines.push(`  left alone: ${text}`);
  return `${lines.join('\n')}\n`;
}

function describeResult({ freed, ended, destroyed, report }: FreeResult): string {
  const lines = ended.map(
    ({ pid, by, ms }) => `pid ${pid} ended${by === 'command' ? '' : ` by ${by}`} after ${formatDuration(ms)}`,
  );
  if (destroyed > 0) lines.push(`${destroyed} ${destroyed === 1 ? 'connection' : 'connections'} removed`);
  if (freed === 'with-reuseaddr') {
    lines.push(
      report.summary,
      'A server that sets SO_REUSEADDR can bind now. For others: --time-wait removes them (root), or holdfast wait --free',
    );
  } else lines.push(report.summary);
  return `${lines.join('\n')}\n`;
}
