import type { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import type { App } from '../apps/file.js';
import { fingerprintOf } from '../apps/fingerprint.js';
import { processStat } from '../kernel/procfs.js';
import { type AppKeeper, startKeeper } from './app-keeper.js';
import { removeRecord, writeRecord } from './app-record.js';

const LAST_WORDS_MS = 1_000;
/** A line that is longer is passed on in parts. */
const LINE_MAX = 65_536;

/**
 * `holdfast up --foreground`: prints what the apps print and ends when all have ended. SIGTERM, SIGINT, and an app that ends
 * with another code than 0 stop all, one after another, the last of the file first; a second signal stops them at once.
 * SIGHUP reloads all where there is no terminal.
 */
export async function foreground(apps: readonly App[], file: string): Promise<void> {
  const width = Math.max(0, ...apps.map(({ name }) => name.length));
  const running: AppKeeper[] = [];
  let exitCode = 0;
  let isStopping = false;
  const stopAll = async (): Promise<void> => {
    isStopping = true;
    for (const { child, ended } of [...running].reverse()) {
      child.kill('SIGTERM');
      await ended;
    }
  };
  const onSignal = (): void => {
    if (isStopping) for (const { child } of running) child.kill('SIGTERM');
    else void stopAll();
  };
  process.on('SIGTERM', onSignal);
  process.on('SIGINT', onSignal);
  const hasTerminal = processStat('self')?.terminal !== 0;
  process.on('SIGHUP', () => {
    if (hasTerminal) onSignal();
    else for (const { child } of running) child.kill('SIGHUP');
  });
  // A reader that is gone ends nobody: the apps go on, as they would with a full disk.
  for (const stream of [process.stdout, process.stderr]) stream.on('error', () => undefined);
  const ends: Promise<void>[] = [];
  for (const app of apps) {
    if (isStopping) break;
    const keeper = await startKeeper(app, { stdio: ['ignore', 'pipe', 'pipe'] });
    const { pid, startTime, child } = keeper;
    running.push(keeper);
    const record = {
      version: 1 as const,
      name: app.name,
      file,
      fingerprint: fingerprintOf(app),
      keeper: { pid, startTime },
    };
    writeRecord(record);
    const output = [
      passOn(child.stdout, app.name.padEnd(width), process.stdout),
      passOn(child.stderr, app.name.padEnd(width), process.stderr),
    ];
    ends.push(
      keeper.ended.then(async (code) => {
        removeRecord(record);
        if (code !== 0 && exitCode === 0) exitCode = code;
        if (code !== 0 && !isStopping) void stopAll();
        // What a keeper that was killed leaves behind may have the pipes for long.
        await Promise.race([Promise.all(output), sleep(LAST_WORDS_MS)]);
      }),
    );
    // A signal that came while it was started has not reached it.
    if (isStopping) child.kill('SIGTERM');
  }
  await Promise.all(ends);
  process.exit(exitCode);
}

/** Passes lines on with the app's name before each. Settles when no more come. */
function passOn(from: Readable | null, name: string, to: NodeJS.WritableStream): Promise<void> {
  let rest = '';
  from?.setEncoding('utf8');
  from?.on('data', (text: string) => {
    const lines = (rest + text).split('\n');
    rest = lines.pop() ?? '';
    if (rest.length > LINE_MAX) {
      lines.push(rest);
      rest = '';
    }
    if (lines.length > 0) to.write(lines.map((line) => `${name} | ${line}\n`).join(''));
  });
  return new Promise((done) => {
    from?.once('close', () => {
      if (rest !== '') to.write(`${name} | ${rest}\n`);
      done();
    });
  });
}
