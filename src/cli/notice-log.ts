import { writeSync } from 'node:fs';
import type { WhyReport } from '../diagnosis/report.js';
import { describeStranger, type Notice } from '../keeper/notices.js';
import { formatDuration } from '../model/duration.js';

const STDERR = 2;

/** Who has an address that the server could not have. */
export interface Diagnosis {
  readonly type: 'diagnosis';
  readonly report: WhyReport;
  /** The report in words, of several lines. */
  readonly text: string;
}

/** Prints notices on stderr: short lines and what was found out, or JSON lines of pino. */
export async function noticeLog(format: 'text' | 'json'): Promise<(notice: Notice | Diagnosis) => void> {
  if (format === 'text') {
    return (notice) =>
      writeLine(`holdfast: ${notice.type === 'diagnosis' ? notice.text : describeNotice(notice)}\n`);
  }
  const { default: pino } = await import('pino');
  const log = pino({ base: { name: 'holdfast' } }, { write: writeLine });
  return (notice) => {
    if (notice.type !== 'diagnosis') log[levelOf(notice)](notice, describeNotice(notice));
    else log.warn({ type: notice.type, report: notice.report }, notice.report.summary);
  };
}

/** One notice as a person reads it. */
export function describeNotice(notice: Notice): string {
  switch (notice.type) {
    case 'started':
      return `${notice.attempt === 1 ? 'started' : 'started again'}, pid ${notice.pid}`;
    case 'held':
      return `keeps ${notice.address} for pid ${notice.pid}`;
    case 'served-again':
      return `${notice.address} is served again by pid ${notice.pid} after ${formatDuration(notice.gapMs)}`;
    case 'released':
      return `${notice.address} ${RELEASED[notice.reason]}`;
    case 'not-held':
      return `${notice.address ?? `a socket of pid ${notice.pid}`} is not kept: ${notice.why}`;
    case 'taken':
      return `${notice.address} is taken by ${describeStranger(notice.by)}`;
    case 'not-allowed':
      return `pid ${notice.pid} may not bind ${notice.address}: run the keeper as root, with --listen and --user for the server`;
    case 'exited':
      return `pid ${notice.pid} ${endedHow(notice)}`;
    case 'never-listened':
      return `pid ${notice.pid} bound ${notice.addresses.join(', ')} and ended before it listened`;
    case 'daemonized':
      return `the server went into the background; following pid ${notice.pids.join(', ')}`;
    case 'restarting':
      return `starting again in ${formatDuration(notice.inMs)} (failure ${notice.failures} in a row)`;
    case 'adopted':
      return adoptedWhat(notice);
    case 'left':
      return 'another keeper goes on';
    case 'promoted':
      return `pid ${notice.pid}, which was standing by, serves now`;
    case 'renewing':
      return `pid ${notice.pid}, which has been standing by for long, is started anew`;
    case 'reloading':
      return `starting generation ${notice.generation}`;
    case 'reloaded':
      return `generation ${notice.generation} has taken over after ${formatDuration(notice.tookMs)}`;
    case 'reload-failed':
      return `the reload failed${notice.goesOn ? ', the former server goes on' : ''}: ${notice.why}`;
    case 'drained':
      return `generation ${notice.generation} ${drainedHow(notice)}`;
    case 'watching':
      return `reloads when files change: ${notice.what.join(', ')}`;
    case 'changed':
      return describeChanged(notice.files);
    case 'parked':
      return `generation ${notice.generation} is kept for ${formatDuration(notice.forMs)}: holdfast rollback goes back to it`;
    case 'rolling-back':
      return `generation ${notice.generation} died ${notice.deaths} times since it took over: going back to the one before it`;
    case 'rolled-back':
      return `generation ${notice.generation} serves again`;
    case 'paused':
      return 'the server is paused: its clients wait';
    case 'resumed':
      return 'the server goes on';
    case 'stays-released':
      return 'the port stays released, as it was under the former keeper: holdfast take starts the server';
    case 'nothing-listens':
      return `nothing listens yet after ${formatDuration(notice.afterMs)}; a server's port is kept once it listens`;
    case 'stopping':
      return `stopping with ${notice.signal}`;
    case 'killed':
      return `killed pid ${notice.pids.join(', ')}`;
    case 'warning':
      return notice.text;
  }
}

/** A checkout may change thousands. */
const FILES_TOLD = 5;

function describeChanged(files: readonly string[]): string {
  const told = files.slice(0, FILES_TOLD).join(', ');
  const others = files.length > FILES_TOLD ? ` and ${files.length - FILES_TOLD} more` : '';
  return `${told}${others} ${files.length === 1 ? 'has' : 'have'} changed`;
}

function endedHow({ code, signal }: Extract<Notice, { readonly type: 'exited' }>): string {
  if (signal !== null) return `ended by ${signal}`;
  return code === null ? 'ended, nobody tells how' : `exited with ${code}`;
}

function adoptedWhat({ pids, addresses, binds }: Extract<Notice, { readonly type: 'adopted' }>): string {
  const server = pids.length === 0 ? 'no server' : `the server, pid ${pids.join(', ')}`;
  const sockets = addresses.length === 0 ? 'no socket' : addresses.join(', ');
  return `took over ${server}, and ${sockets}${binds ? '' : '; it cannot bind any more until it is reloaded'}`;
}

function drainedHow({
  complete,
  tookMs,
  connections,
}: Extract<Notice, { readonly type: 'drained' }>): string {
  const time = formatDuration(tookMs);
  if (complete) return `has finished what it had, after ${time}`;
  const left = `${connections} ${connections === 1 ? 'connection' : 'connections'}`;
  return `has not finished after ${time}: ${left} will be cut`;
}

const RELEASED = {
  closed: 'was closed by the server and is no longer kept',
  failing: 'refuses clients until a server listens again: none came up in time',
  moved: 'is no longer kept: the server has another address now',
} as const;

function levelOf({ type }: Notice): 'info' | 'warn' {
  switch (type) {
    case 'taken':
    case 'not-held':
    case 'not-allowed':
    case 'warning':
    case 'killed':
    case 'nothing-listens':
    case 'reload-failed':
      return 'warn';
    default:
      return 'info';
  }
}

/** Written at once, as the keeper may exit right after; a terminal or pipe that is gone takes nothing more. */
function writeLine(line: string): void {
  try {
    writeSync(STDERR, line);
  } catch {
    // The terminal or pipe is gone (EIO, EPIPE) or the disk full (ENOSPC): there is nowhere left to say so, and a
    // keeper does not end for want of a log.
  }
}
