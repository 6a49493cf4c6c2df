import { realpathSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { setFlagsFromString } from 'node:v8';
import { addressErrorIn, errorCode, errorText, HoldfastError } from '../errors.js';
import { Keeper, type ProcessDuties } from '../keeper/keeper.js';
import type { RestartPolicy } from '../keeper/lifecycle.js';
import { logFiles } from '../keeper/log-file.js';
import type { Notice } from '../keeper/notices.js';
import type { KeepOptions } from '../keeper/options.js';
import type { ServerTarget } from '../keeper/running-server.js';
import { openFiles, processStat } from '../kernel/procfs.js';
import { restoreModes, terminalModes } from '../kernel/terminal.js';
import { formatAddress } from '../model/address.js';
import { parseSize } from '../model/size.js';
import { serverEnvironment } from './app-environment.js';
import { BindFailures } from './bind-failures.js';
import { explainTrap } from './explain-trap.js';
import { gracefulNode } from './graceful-node.js';
import { isInForeground } from './in-foreground.js';
import { isUnderNohup, restoreOpenFilesLimit } from './inherited.js';
import { noticeLog } from './notice-log.js';

/** The options of `holdfast run` as commander gives them. Times in milliseconds. */
export interface RunFlags {
  readonly name?: string;
  readonly replace?: true;
  readonly listen: readonly string[];
  readonly trap: boolean;
  readonly user?: string;
  readonly group?: string;
  readonly restart: RestartPolicy;
  readonly maxBackoff: number;
  readonly holdFor: number;
  readonly stopSignal: NodeJS.Signals;
  readonly stopTimeout: number;
  readonly workers: number;
  readonly standby?: number | true;
  readonly standbyMaxAge: number;
  readonly overlap: boolean | 'none';
  readonly ready: string;
  readonly readyTimeout: number;
  readonly drainWait: NonNullable<KeepOptions['drainWait']>;
  readonly drainQuiet: number;
  readonly drainTimeout: number;
  readonly graceful?: 'node';
  /** `true`: every file of the folder. */
  readonly watch?: readonly string[] | true;
  readonly park: number;
  readonly logFile?: string | true;
  readonly logMaxSize?: string;
  readonly metrics?: string;
  readonly log: 'text' | 'json';
}

const STDIN = 0;

/** `holdfast run` and `adopt`: keeps the server in the foreground and exits with its exit code. */
export async function run(command: readonly string[], flags: RunFlags, adopt?: ServerTarget): Promise<void> {
  // Nothing here runs hot. The optimizing compiler would come after a hundred restarts and keep 5 MB.
  setFlagsFromString('--no-opt');
  const log = await noticeLog(flags.log);
  const modes = terminalModes(STDIN);
  const bindFailures = new BindFailures(log);
  const onNotice = (notice: Notice): void => {
    if (notice.type === 'held' || notice.type === 'served-again') bindFailures.forget();
    // Told by what stands behind it, or not at all: that it has ended is told anyway.
    if (notice.type === 'never-listened') bindFailures.add(notice.addresses);
    else log(notice);
    // A server that died in raw mode would leave the terminal without echo. From the background it is not ours to set.
    if (notice.type === 'exited' && modes && isInForeground()) restoreModes(STDIN, modes);
  };
  restoreOpenFilesLimit();
  const ignoresHangup = isUnderNohup();
  const options = { ...keepOptions(command, flags), onNotice, ...(adopt && { adopt }) };
  const keeperIsThere = handleSignals(ignoresHangup, log);
  const duties = { reapsAll: true, ignoresHangup, serviceEnv: process.env };
  const keeper = await startKeeper(options, duties).catch(async (error: unknown) => {
    bindFailures.add(takenAddresses(error));
    await bindFailures.done();
    throw error;
  });
  keeperIsThere(keeper);
  // Whatever goes wrong in the keeper from here on, its server and its clients are better off with it than without.
  process.on('uncaughtException', (error) => {
    log({ type: 'warning', text: `a fault of holdfast, please report it: ${error.stack ?? error.message}` });
  });
  if (flags.watch !== undefined) await reloadAtChanges(keeper, flags.watch === true ? [] : flags.watch, log);
  const { exitCode } = await keeper.exited;
  await bindFailures.done();
  process.exit(exitCode);
}

/** How each reload goes is told by the keeper. */
async function reloadAtChanges(
  keeper: Keeper,
  globs: readonly string[],
  log: (notice: Notice) => void,
): Promise<void> {
  const { watchFiles } = await import('../keeper/file-watch.js');
  const directory = process.cwd();
  let hasMissed = false;
  const reload = async (): Promise<void> => {
    try {
      await keeper.reload();
    } catch (error) {
      // A take starts the server anew, with what has changed.
      hasMissed = keeper.status().paused;
      log(notReloaded(error));
    }
  };
  keeper.on('resumed', () => {
    if (!hasMissed) return;
    hasMissed = false;
    // Not at once: a stop has a paused server go on too.
    queueMicrotask(reload);
  });
  const watching = watchFiles({
    directory,
    globs,
    except: outputFiles(keeper),
    changed: (files) => {
      log({ type: 'changed', files });
      return reload();
    },
    failed: (error) => log({ type: 'warning', text: describeWatchFailure(error) }),
  });
  void keeper.exited.then(async () => (await watching).close());
  await Promise.race([watching, keeper.exited]);
  log({ type: 'watching', what: globs.length === 0 ? [directory] : globs });
}

/** What the server's output goes to: each reload would change it. */
function outputFiles(keeper: Keeper): readonly string[] {
  const files = openFiles('self').filter(({ fd }) => fd === process.stdout.fd || fd === process.stderr.fd);
  const own = files.map(({ target }) => target);
  const { log } = keeper.status();
  return log ? [...own, ...logFiles(log).flatMap((path) => [path, inRealFolder(path)])] : own;
}

/** As it is called where links are followed on the way to it. */
function inRealFolder(path: string): string {
  return join(realpathSync(dirname(path)), basename(path));
}

function notReloaded(error: unknown): Notice {
  return { type: 'warning', text: `not reloaded: ${errorText(error)}` };
}

function describeWatchFailure(error: unknown): string {
  const more = errorCode(error) === 'ENOSPC' ? '; raise the sysctl fs.inotify.max_user_watches' : '';
  return `cannot watch files: ${errorText(error)}${more}`;
}

function keepOptions(command: readonly string[], flags: RunFlags): KeepOptions {
  const env = serverEnvironment();
  return {
    command,
    listen: flags.listen,
    trap: flags.trap,
    restart: flags.restart,
    maxBackoffMs: flags.maxBackoff,
    holdForMs: flags.holdFor,
    stopSignal: flags.stopSignal,
    stopTimeoutMs: flags.stopTimeout,
    workers: flags.workers,
    standbyMaxAgeMs: flags.standbyMaxAge,
    standbys: flags.standby === true ? 1 : (flags.standby ?? 0),
    overlap: flags.overlap === true,
    ready: flags.ready,
    readyTimeoutMs: flags.readyTimeout,
    drainWait: flags.drainWait,
    drainQuietMs: flags.drainQuiet,
    drainTimeoutMs: flags.drainTimeout,
    parkMs: flags.park,
    replace: flags.replace ?? false,
    ...(env === undefined ? {} : { env }),
    ...(flags.graceful === undefined ? {} : { env: gracefulEnvironment(env ?? process.env, flags) }),
    ...logOptions(flags),
    ...(flags.metrics === undefined ? {} : { metrics: flags.metrics }),
    ...(flags.name === undefined ? {} : { name: flags.name }),
    ...(flags.user === undefined ? {} : { user: flags.user }),
    ...(flags.group === undefined ? {} : { group: flags.group }),
  };
}

/** @throws {HoldfastError} ERR_HOLDFAST_OPTION */
export function logOptions({ logFile, logMaxSize }: RunFlags): Pick<KeepOptions, 'logFile' | 'logMaxBytes'> {
  if (logFile === undefined && logMaxSize === undefined) return {};
  if (logFile === undefined)
    throw new HoldfastError('ERR_HOLDFAST_OPTION', '--log-max-size goes with --log-file');
  return { logFile, ...(logMaxSize === undefined ? {} : { logMaxBytes: parseSize(logMaxSize) }) };
}

/** `--graceful` acts on the server's environment, wherever that is from. */
function gracefulEnvironment(
  env: NodeJS.ProcessEnv,
  { stopSignal, stopTimeout }: RunFlags,
): NodeJS.ProcessEnv {
  return gracefulNode(env, { stopSignal, stopTimeoutMs: stopTimeout });
}

/** The address of `--listen` that somebody else has. */
function takenAddresses(error: unknown): readonly string[] {
  if (!(error instanceof HoldfastError) || error.code !== 'ERR_HOLDFAST_ADDRESS_TAKEN') return [];
  const { address, port } = addressErrorIn(error) ?? {};
  if (typeof address !== 'string' || port === undefined) return [];
  return [formatAddress({ family: address.includes(':') ? 'ipv6' : 'ipv4', host: address, port })];
}

/** Where there can be no trap, goes on without when the server's sockets are in good hands all the same. */
async function startKeeper(
  options: KeepOptions & Required<Pick<KeepOptions, 'onNotice'>>,
  duties: ProcessDuties,
): Promise<Keeper> {
  try {
    return await Keeper.start(options, duties);
  } catch (error) {
    if (!(error instanceof HoldfastError) || error.code !== 'ERR_HOLDFAST_TRAP_UNAVAILABLE') throw error;
    const { text, goesOn } = explainTrap(error, hasSockets(options));
    if (!goesOn) throw new HoldfastError(error.code, text, error.cause);
    options.onNotice({ type: 'warning', text });
    return Keeper.start({ ...options, trap: false }, duties);
  }
}

/** Whether there are sockets to keep without a trap: named ones, or a service manager's. */
function hasSockets({ listen = [] }: KeepOptions): boolean {
  return listen.length > 0 || process.env.LISTEN_PID === String(process.pid);
}

/** Handles signals from now on; those that come before there is a keeper are acted on when it is given. */
function handleSignals(ignoresHangup: boolean, log: (notice: Notice) => void): (keeper: Keeper) => void {
  let keeper: Keeper | undefined;
  const early: ((keeper: Keeper) => void)[] = [];
  const on = (signal: NodeJS.Signals, act: (keeper: Keeper) => void): void => {
    process.on(signal, () => {
      if (keeper) act(keeper);
      else early.push(act);
    });
  };
  const hadTerminal = processStat('self')?.terminal !== 0;
  on('SIGTERM', (kept) => void kept.stop());
  on('SIGINT', (kept) => void kept.stop('SIGINT', reachesServer(kept)));
  on('SIGQUIT', (kept) => void kept.stop('SIGQUIT', reachesServer(kept)));
  on('SIGHUP', (kept) => {
    if (ignoresHangup) return;
    if (hadTerminal) void kept.stop();
    else kept.reload().catch((error: unknown) => log(notReloaded(error)));
  });
  on('SIGUSR1', (kept) => kept.forward('SIGUSR1'));
  on('SIGUSR2', (kept) => kept.forward('SIGUSR2'));
  on('SIGWINCH', (kept) => {
    if (!isInForeground()) kept.forward('SIGWINCH');
  });
  return (started) => {
    keeper = started;
    for (const act of early) act(started);
  };
}

/** Whether what the terminal sends us it sends to the server too. */
function reachesServer(keeper: Keeper): boolean {
  const { worker } = keeper.status();
  const server = worker === null ? undefined : processStat(worker.pid);
  return isInForeground() && server?.processGroup === processStat('self')?.processGroup;
}
