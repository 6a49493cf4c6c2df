import { existsSync, readFileSync } from 'node:fs';
import { basename, dirname, extname, relative, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { parse } from 'yaml';
import { errorText, HoldfastError } from '../errors.js';
import { defaultName } from '../model/keeper-name.js';
import { splitWords } from '../model/words.js';
import type { WrittenApp } from './schema.js';
import { type Draft, distinctNames } from './write.js';

/** What a file of pm2 comes to. */
export interface FromPm2 {
  readonly drafts: readonly Draft[];
  readonly notes: readonly string[];
}

/** pm2's own, by the ending of the script. */
const INTERPRETERS: Readonly<Record<string, string>> = {
  '.js': 'node',
  '.cjs': 'node',
  '.mjs': 'node',
  '.ts': 'bun',
  '.tsx': 'bun',
  '.py': 'python3',
  '.sh': 'bash',
  '.rb': 'ruby',
  '.pl': 'perl',
  '.php': 'php',
};

/** Options of pm2 that something here takes the place of, and what. */
const REPLACED: Readonly<Record<string, string>> = {
  max_restarts:
    'a server that keeps crashing is started again without end, with growing pauses (max-backoff)',
  min_uptime: 'two seconds of serving end a row of failures',
  restart_delay: 'the pause before a start grows by itself up to max-backoff',
  exp_backoff_restart_delay: 'the pause before a start grows by itself up to max-backoff',
  out_file: 'output goes to NAME.log in the state folder',
  error_file: 'output goes to NAME.log in the state folder',
  log_file: 'output goes to NAME.log in the state folder',
  output: 'output goes to NAME.log in the state folder',
  error: 'output goes to NAME.log in the state folder',
  log: 'output goes to NAME.log in the state folder',
  shutdown_with_message: 'a server is asked to end by stop-signal',
  instance_var: 'workers have no numbers',
  increment_var: 'workers have no numbers',
  env_production: 'a file has one environment for each app',
};

/** Options of pm2 that are carried over, or that mean nothing without pm2. */
const KNOWN: ReadonlySet<string> = new Set([
  ...['name', 'script', 'args', 'cwd', 'env', 'port', 'interpreter', 'exec_interpreter', 'interpreter_args'],
  ...['node_args', 'instances', 'exec_mode', 'kill_timeout', 'wait_ready', 'listen_timeout', 'autorestart'],
  ...['uid', 'user', 'gid', 'group', 'max_backoff', 'append_env_to_name', 'vizion', 'pmx', 'automation'],
  ...[
    'combine_logs',
    'merge_logs',
    'log_date_format',
    'log_type',
    'time',
    'pid_file',
    'pid',
    'force',
    'treekill',
  ],
  ...['watch_delay', 'ignore_watch', 'watch_options', 'namespace', 'disable_logs', 'source_map_support'],
]);

/**
 * Reads a file of pm2. One of JavaScript is run, as pm2 does. `folder`: where the new file will be.
 *
 * @throws {HoldfastError} ERR_HOLDFAST_PM2_FILE
 */
export async function appsFromPm2(path: string, folder: string): Promise<FromPm2> {
  const content = await load(path);
  const list = listOf(content, path);
  if (list.length === 0) throw refuse(path, 'it has no apps: [...]');
  const names = distinctNames(list.map((app, index) => nameOf(app, path, index)));
  const drafts = list.map((app, index) => draftOf(names[index] ?? '', app, { file: path, folder }));
  const deploy = isObject(content) && 'deploy' in content;
  return { drafts, notes: deploy ? ['Not carried over: deploy.'] : [] };
}

type Pm2App = Readonly<Record<string, unknown>>;

async function load(path: string): Promise<unknown> {
  try {
    if (/\.(?:json|ya?ml)$/.test(path)) return parse(readFileSync(path, 'utf8'));
    const module = (await import(pathToFileURL(resolve(path)).href)) as { readonly default?: unknown };
    return module.default ?? module;
  } catch (error) {
    const isCommonJs =
      error instanceof ReferenceError && /\b(?:module|exports|require) is not/.test(error.message);
    const hint = isCommonJs ? '; its folder has packages of type "module", so call it .cjs' : '';
    throw refuse(path, `it cannot be read: ${errorText(error)}${hint}`, error);
  }
}

/** @throws {HoldfastError} ERR_HOLDFAST_PM2_FILE: one of them is no app. */
function listOf(content: unknown, path: string): readonly Pm2App[] {
  const apps = isObject(content) && 'apps' in content ? content.apps : content;
  const list = Array.isArray(apps) ? (apps as unknown[]) : [apps];
  return list.map((app, index) => {
    if (isObject(app) && 'script' in app) return app as Pm2App;
    // A file of something else.
    if (list.length === 1 && apps === content) throw refuse(path, 'it has no apps: [...]');
    throw refuse(path, `app ${index + 1} has no script`);
  });
}

function nameOf(app: Pm2App, path: string, index: number): string {
  const script = textOf(app.script);
  if (script === undefined) throw refuse(path, `the script of app ${index + 1} is no text`);
  return defaultName(textOf(app.name) ?? basename(script, extname(script)));
}

function draftOf(
  name: string,
  app: Pm2App,
  { file, folder }: { readonly file: string; readonly folder: string },
): Draft {
  const directory = resolve(dirname(resolve(file)), textOf(app.cwd) ?? '.');
  const notes: string[] = [];
  const written: WrittenApp = {
    command: commandOf(app, directory),
    ...(directory === folder ? {} : { directory: seenFrom(folder, directory) }),
    ...envOf(app),
    ...workersOf(app, notes),
    ...(app.wait_ready === true ? { ready: 'ipc' } : {}),
    ...timeOf(app.listen_timeout, 'ready-timeout'),
    // What pm2 does where a file says nothing.
    'stop-signal': 'SIGINT',
    ...timeOf(app.kill_timeout, 'stop-timeout'),
    restart: app.autorestart === false ? 'never' : 'always',
    ...idOf('user', app.user ?? app.uid),
    ...idOf('group', app.group ?? app.gid),
  };
  return { name, app: written, notes: [...notes, ...lost(app)] };
}

/** The program is found as pm2 finds it: a file in the folder is run by an interpreter, another word is a program. */
function commandOf(app: Pm2App, directory: string): readonly string[] {
  const script = textOf(app.script) ?? '';
  const isFile = script.includes('/') || extname(script) !== '' || existsSync(resolve(directory, script));
  const given = textOf(app.interpreter ?? app.exec_interpreter);
  const interpreter = given ?? (isFile ? (INTERPRETERS[extname(script)] ?? 'node') : 'none');
  const flags = wordsOf(app.interpreter_args ?? app.node_args);
  const maps = app.source_map_support === true && interpreter === 'node' ? ['--enable-source-maps'] : [];
  const program =
    interpreter === 'none' ? [programPath(script, directory)] : [interpreter, ...maps, ...flags, script];
  return [...program, ...wordsOf(app.args)];
}

/** A program of the folder needs a "/": otherwise it is looked for in PATH. */
function programPath(script: string, directory: string): string {
  return !script.includes('/') && existsSync(resolve(directory, script)) ? `./${script}` : script;
}

function envOf(app: Pm2App): { readonly env?: Readonly<Record<string, string>> } {
  const env = Object.entries(isObject(app.env) ? app.env : {}).filter(
    ([, value]) => value !== undefined && value !== null,
  );
  if (app.port !== undefined) env.push(['PORT', app.port]);
  if (env.length === 0) return {};
  const text = (value: unknown): string =>
    typeof value === 'object' ? JSON.stringify(value) : String(value);
  return { env: Object.fromEntries(env.map(([key, value]) => [key, text(value)])) };
}

function workersOf(
  { instances, exec_mode: mode }: Pm2App,
  notes: string[],
): { readonly workers?: number | 'auto' } {
  const isCluster = /^cluster/.test(String(mode ?? ''));
  if (isCluster) notes.push('Cluster mode: the workers are separate processes that share one accept queue.');
  if (instances === undefined) return {};
  const count = Number(instances);
  if (instances === 'max' || count === 0) return { workers: 'auto' };
  if (Number.isInteger(count) && count > 1 && count < 1_000) return { workers: count };
  if (count !== 1) {
    notes.push(`Not carried over: instances ${JSON.stringify(instances)}; workers is a number or auto.`);
  }
  return {};
}

/** pm2 has milliseconds, or a text such as 10s. */
function timeOf(value: unknown, key: string): Readonly<Record<string, string>> {
  const text = String(value ?? '');
  if (/^\d+(?:\.\d+)?$/.test(text)) {
    const ms = Number(text);
    return { [key]: ms % 1_000 === 0 ? `${ms / 1_000}s` : `${ms}ms` };
  }
  return /^\d+(?:\.\d+)?(?:ms|s|m|h)$/.test(text) ? { [key]: text } : {};
}

function idOf(key: 'user' | 'group', value: unknown): Readonly<Record<string, string | number>> {
  return (typeof value === 'string' && value !== '') || typeof value === 'number' ? { [key]: value } : {};
}

/** What of an app nothing here does. */
function lost(app: Pm2App): readonly string[] {
  const isSet = (key: string): boolean => ![undefined, null, false, ''].includes(app[key] as string);
  const keys = Object.keys(app).filter((key) => isSet(key) && !KNOWN.has(key));
  const replacements = new Set(keys.map((key) => REPLACED[key]));
  return [...replacements].map((replacement) => {
    const those = keys.filter((key) => REPLACED[key] === replacement);
    const why = replacement === undefined ? '' : `; ${replacement}`;
    return `Not carried over: ${those.join(', ')}${why}.`;
  });
}

function seenFrom(folder: string, directory: string): string {
  const path = relative(folder, directory);
  return path.startsWith('..') ? directory : path;
}

/** Arguments are a list, or a line whose words pm2 splits at blanks and quotes. */
function wordsOf(value: unknown): readonly string[] {
  if (Array.isArray(value)) return value.map(String);
  const line = textOf(value)?.trim() ?? '';
  if (line === '') return [];
  const words = splitWords(line);
  return 'why' in words ? line.split(/\s+/) : words;
}

function textOf(value: unknown): string | undefined {
  return typeof value === 'string' || typeof value === 'number' ? String(value) : undefined;
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function refuse(path: string, why: string, cause?: unknown): HoldfastError {
  return new HoldfastError('ERR_HOLDFAST_PM2_FILE', `${path}: ${why}`, cause);
}
