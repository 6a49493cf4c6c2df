import type { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { type App, readAppsFile } from '../apps/file.js';
import { errorText } from '../errors.js';
import { parseListen } from '../keeper/listen-address.js';
import { isAlive } from '../keeper/tree.js';
import { processStat } from '../kernel/procfs.js';
import { type AppKeeper, startKeeper, untilAnswering } from './app-keeper.js';
import {
  type AppRecord,
  exclusively,
  newRecord,
  removeRecord,
  runningApp,
  runningRecord,
  runsAlready,
  writeRecord,
} from './app-record.js';
import { stateOf } from './ask-named.js';
import { changesOf, describeReplaced, replaceApp, whyNotReplaced } from './replace-app.js';

const LAST_WORDS_MS = 1_000;
/** A line that is longer is passed on in parts. */
const LINE_MAX = 65_536;

export interface ForegroundOptions {
  /** As it was named, for messages. */
  readonly given: string;
  /** What the apps are known by. */
  readonly path: string;
  /** How long an app may take until it serves, when it is replaced. */
  readonly waitMs: number;
}

/** An app that runs in the foreground. */
interface Running {
  record: AppRecord;
  keeper: AppKeeper;
  /** A keeper that is to take over from that one, and has not yet. */
  next: AppKeeper | undefined;
  /** Settles when it has, or has failed. */
  replacing: Promise<void> | undefined;
}

/**
 * `holdfast up --foreground`: prints what the apps print and ends when all have ended. SIGTERM, SIGINT, and an app that ends
 * with another code than 0 stop all, one after another, the last of the file first; a second signal stops them at once.
 * SIGHUP, where there is no terminal, reads the file again: apps that have changed in it are replaced, the others are
 * reloaded.
 */
export async function foreground(apps: readonly App[], options: ForegroundOptions): Promise<void> {
  const width = Math.max(0, ...apps.map(({ name }) => name.length));
  const running: Running[] = [];
  const output: Promise<void>[] = [];
  let exitCode = 0;
  const stopping = new AbortController();
  const isStopping = (): boolean => stopping.signal.aborted;
  const tell = (text: string): void => {
    process.stderr.write(`holdfast: ${text}\n`);
  };
  const start = async (app: App, replace: boolean): Promise<AppKeeper> => {
    const keeper = await startKeeper(app, { stdio: ['ignore', 'pipe', 'pipe'], replace });
    const label = app.name.padEnd(width);
    output.push(passOn(keeper.child.stdout, label, process.stdout));
    output.push(passOn(keeper.child.stderr, label, process.stderr));
    return keeper;
  };
  const stopAll = async (): Promise<void> => {
    stopping.abort();
    for (const one of [...running].reverse()) {
      endApp(one);
      await ended(one);
    }
  };
  const onSignal = (): void => {
    if (isStopping()) running.forEach(endApp);
    else void stopAll();
  };
  const reloads = new Reloads(running, options, { start, tell, isStopping });
  process.on('SIGTERM', onSignal);
  process.on('SIGINT', onSignal);
  const hasTerminal = processStat('self')?.terminal !== 0;
  process.on('SIGHUP', () => {
    if (hasTerminal) onSignal();
    else reloads.ask();
  });
  // A reader that is gone ends nobody: the apps go on, as they would with a full disk.
  for (const stream of [process.stdout, process.stderr]) stream.on('error', () => undefined);
  const own = { pid: process.pid, startTime: processStat('self')?.startTime ?? 0 };
  const begin = async (app: App): Promise<Pick<Running, 'keeper' | 'record'>> => {
    const other = runningApp(app.name, options.path);
    if (other !== undefined) throw runsAlready(other);
    const keeper = await start(app, false);
    const record = newRecord(app, options.path, keeper, own);
    writeRecord(record);
    return { keeper, record };
  };
  const ends: Promise<void>[] = [];
  for (const app of apps) {
    if (isStopping()) break;
    const how = { waitMs: options.waitMs, signal: stopping.signal };
    const begun = await exclusively(app.name, how, () => begin(app)).catch(async (error: unknown) => {
      if (isStopping()) return undefined;
      await stopAll();
      throw error;
    });
    if (begun === undefined) break;
    const { keeper, record } = begun;
    const one: Running = { record, keeper, next: undefined, replacing: undefined };
    running.push(one);
    ends.push(
      ended(one).then(async (code) => {
        removeRecord(one.record);
        if (code !== 0 && exitCode === 0) exitCode = code;
        if (code !== 0 && !isStopping()) void stopAll();
        // What a keeper that was killed leaves behind may have the pipes for long.
        await Promise.race([Promise.all(output), sleep(LAST_WORDS_MS)]);
      }),
    );
    // A signal that came while it was started has not reached it.
    if (isStopping()) endApp(one);
  }
  reloads.begin();
  await Promise.all(ends);
  process.exit(exitCode);
}

function endApp({ keeper, next }: Running): void {
  keeper.child.kill('SIGTERM');
  next?.child.kill('SIGTERM');
}

/** Gives the exit code of the app's last keeper, when no other has taken over from it. */
async function ended(one: Running): Promise<number> {
  for (;;) {
    const { keeper } = one;
    const code = await keeper.ended;
    await one.replacing;
    if (one.keeper === keeper) return code;
  }
}

/** Waits until the keeper that is to take over has done so or has failed, however late that is. */
async function decided(one: Running): Promise<void> {
  const { keeper, next } = one;
  if (next === undefined) return;
  if (next !== keeper) {
    await Promise.race([keeper.ended, next.ended]);
    // The former one lives only if the other could not take over from it.
    if (!isAlive(keeper)) one.keeper = next;
  }
  one.next = undefined;
}

interface ReloadsHost {
  /** Starts a keeper whose output is passed on. */
  readonly start: (app: App, replace: boolean) => Promise<AppKeeper>;
  readonly tell: (text: string) => void;
  readonly isStopping: () => boolean;
}

/** Reads the file again when that is asked for, once at a time: what is asked for meanwhile is one more time. */
class Reloads {
  readonly #running: readonly Running[];
  readonly #options: ForegroundOptions;
  readonly #host: ReloadsHost;
  #isAsked = false;
  /** Until `begin`: not all apps are there yet. */
  #isBusy = true;

  constructor(running: readonly Running[], options: ForegroundOptions, host: ReloadsHost) {
    this.#running = running;
    this.#options = options;
    this.#host = host;
  }

  /** All apps have been started. */
  begin(): void {
    this.#isBusy = false;
    if (this.#isAsked) void this.#reload();
  }

  ask(): void {
    this.#isAsked = true;
    if (!this.#isBusy) void this.#reload();
  }

  async #reload(): Promise<void> {
    this.#isBusy = true;
    while (this.#isAsked && !this.#host.isStopping()) {
      this.#isAsked = false;
      try {
        await this.#reloadAll();
      } catch (error) {
        this.#host.tell(`not reloaded: ${errorText(error)}`);
      }
    }
    this.#isBusy = false;
  }

  async #reloadAll(): Promise<void> {
    const { given } = this.#options;
    const { apps } = readAppsFile(given, parseListen);
    const known = new Set(this.#running.map(({ record }) => record.name));
    for (const { name } of apps)
      if (!known.has(name)) this.#host.tell(`${name} is not among the apps that run here: not started`);
    await Promise.all(
      this.#running.map(async (one) => {
        const { record, keeper } = one;
        if (!isAlive(keeper)) return;
        if (one.next !== undefined) {
          this.#host.tell(`${record.name}: not reloaded, its next keeper has not taken over yet`);
          return;
        }
        const app = apps.find(({ name }) => name === record.name);
        if (app === undefined)
          this.#host.tell(`${record.name} is no longer in ${given}: reloaded as it runs`);
        const changed = app === undefined ? undefined : changesOf(app, record);
        if (app === undefined || changed === undefined) await this.#hangUp(one);
        else await this.#replace(one, app, changed);
      }),
    );
  }

  /** How that goes the keeper tells. One that does not answer yet may not know what to do at the signal, and would end. */
  async #hangUp({ record: { name }, keeper }: Running): Promise<void> {
    if (await untilAnswering(name, keeper, this.#options.waitMs)) keeper.child.kill('SIGHUP');
    else if (isAlive(keeper)) this.#host.tell(`${name}: not reloaded, its keeper does not answer`);
  }

  async #replace(one: Running, app: App, changed: readonly string[]): Promise<void> {
    let settle = (): void => undefined;
    one.replacing = new Promise((settled) => {
      settle = settled;
    });
    try {
      await exclusively(app.name, this.#options, () => this.#tryToReplace(one, app, changed));
    } catch (error) {
      this.#host.tell(`${app.name}: ${errorText(error)}`);
    } finally {
      void decided(one).then(() => {
        one.record = runningRecord(app.name) ?? one.record;
        one.replacing = undefined;
        settle();
      });
    }
  }

  async #tryToReplace(one: Running, app: App, changed: readonly string[]): Promise<void> {
    const refusal = await whyNotReplaced(app.name);
    if (refusal !== undefined) {
      this.#host.tell(`not reloaded: ${app.name} has changed, and ${refusal}`);
      return;
    }
    const start = async (): Promise<AppKeeper> => {
      one.next = await this.#host.start(app, true);
      if (this.#host.isStopping()) endApp(one);
      return one.next;
    };
    const { waitMs } = this.#options;
    const replacement = await replaceApp(app, one.record, changed, { start, waitMs, reloads: true });
    // Who answers has taken over, and the former one may live for a moment longer.
    if (one.next !== undefined && (await stateOf(app.name))?.pid === one.next.pid) one.keeper = one.next;
    if (replacement.ok) this.#host.tell(`${app.name}: ${describeReplaced(changed, replacement.state)}`);
    else this.#host.tell(`${app.name} ${replacement.why}`);
  }
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
