import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { delimiter, dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { errorCode, errorText, HoldfastError } from '../errors.js';
import { findProgram } from '../keeper/hand-over.js';
import { type ListenRequest, parseListen } from '../keeper/listen-address.js';
import { parseMetricsAddress } from '../keeper/metrics-server.js';
import { parseReadiness } from '../keeper/readiness.js';
import { checkName } from '../keeper/state.js';
import { type UnitFile, unitFiles, WRITTEN } from '../keeper/unit-file.js';
import { workingDirectory } from '../kernel/directory.js';
import { defaultName } from '../model/keeper-name.js';
import { logOptions, type RunFlags } from './run.js';
import { say } from './say.js';

/** The options of `holdfast systemd`: those of `run`, and its own. */
export interface SystemdFlags extends RunFlags {
  readonly userUnit?: boolean;
  readonly socket?: readonly string[];
  readonly write?: string;
}

/** What systemd gives a service. @see systemd.exec(5) */
const SYSTEMD_PATH = ['/usr/local/sbin', '/usr/local/bin', '/usr/sbin', '/usr/bin', '/sbin', '/bin'];

/**
 * `holdfast systemd`: prints the units of a keeper, or writes them. `given`: the options of `run` that were given, word for
 * word, without those that the unit has in its own way.
 *
 * @throws {HoldfastError} ERR_HOLDFAST_COMMAND: there is no such program.
 */
export function systemd(command: readonly string[], given: readonly string[], flags: SystemdFlags): void {
  if (flags.userUnit && (flags.user !== undefined || flags.group !== undefined)) {
    const text = "--user and --group are for the system's units; those of --user-unit run as their user";
    throw new HoldfastError('ERR_HOLDFAST_OPTION', text);
  }
  // Whatever the keeper would refuse is refused now.
  parseReadiness(flags.ready);
  if (flags.metrics !== undefined) parseMetricsAddress(flags.metrics);
  logOptions(flags);
  const directory = workingDirectory();
  const name = checkName(flags.name ?? defaultName(directory));
  const [program = '', ...args] = command;
  const node = process.execPath;
  const holdfast = [node, fileURLToPath(new URL('main.cjs', import.meta.url))];
  const files = unitFiles({
    name,
    description: `${name}, kept by holdfast: ${command.join(' ').slice(0, 120)}`,
    command: [
      ...[...holdfast, 'run', `--name=${name}`, ...given, '--'],
      ...[findProgram(program, process.env, directory), ...args],
    ],
    reload: [...holdfast, 'reload', name],
    directory,
    path: SYSTEMD_PATH.includes(dirname(node)) ? undefined : [dirname(node), ...SYSTEMD_PATH].join(delimiter),
    isUserUnit: flags.userUnit === true,
    user: flags.user,
    group: flags.group,
    restart: flags.restart,
    stopSignal: flags.stopSignal,
    stopTimeoutMs: flags.stopTimeout,
    readyTimeoutMs: flags.readyTimeout,
    drainTimeoutMs: flags.drainTimeout,
    listens: flags.listen.map(parseListen),
    sockets: (flags.socket ?? []).map(parseSocket),
  });
  if (flags.write === undefined) say(files.map((file) => `# ${file.name}\n${file.text}`).join('\n'));
  else write(files, resolve(flags.write), flags.userUnit === true);
}

/** @throws {HoldfastError} ERR_HOLDFAST_ADDRESS */
function parseSocket(text: string): ListenRequest {
  try {
    return parseListen(text);
  } catch (error) {
    const why = errorText(error).replace(/^--listen/, '--socket');
    throw new HoldfastError('ERR_HOLDFAST_ADDRESS', why, error);
  }
}

function write(files: readonly UnitFile[], folder: string, isUserUnit: boolean): void {
  const paths = files.map((file) => join(folder, file.name));
  for (const path of paths) refuseOthers(path);
  mkdirSync(folder, { recursive: true });
  for (const [index, path] of paths.entries()) writeFileSync(path, files[index]?.text ?? '');
  const systemctl = isUserUnit ? 'systemctl --user' : 'systemctl';
  const units = files.map((file) => file.name).toReversed();
  const next = `${systemctl} daemon-reload && ${systemctl} enable --now ${units.join(' ')}`;
  say(`${paths.map((path) => `wrote ${path}`).join('\n')}\nnext: ${next}\n`);
}

/** A file that somebody else has written is not ours to replace. */
function refuseOthers(path: string): void {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return;
    throw error;
  }
  if (text.startsWith(WRITTEN)) return;
  throw new HoldfastError('ERR_HOLDFAST_OPTION', `${path} was not written by holdfast; remove it first`);
}
