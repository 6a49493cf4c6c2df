import { readFileSync, realpathSync, statSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { type Document, isAlias, isMap, isScalar, isSeq, type Node } from 'yaml';
import { errorCode, errorText, HoldfastError } from '../errors.js';
import { splitWords } from '../model/words.js';
import { readYaml } from '../yaml-source.js';
import { checkFile, type Fault, OPTION_KEYS, type WrittenApp } from './schema.js';

/** An option of `holdfast run` as a file has it; those that are given several times are a list. */
export type OptionValue = string | number | boolean | readonly string[];

/** An app, ready to be started. */
export interface App {
  readonly name: string;
  readonly command: readonly string[];
  /** Absolute. */
  readonly directory: string;
  readonly env: Readonly<Record<string, string>>;
  /** Options of `holdfast run`, by their names. */
  readonly options: Readonly<Record<string, OptionValue>>;
}

export interface AppsFile {
  /** Absolute and without links: what its apps are known by. */
  readonly path: string;
  /** In the order of the file. */
  readonly apps: readonly App[];
}

/** Throws what is wrong with an address of `listen`. */
export type CheckAddress = (address: string) => unknown;

/**
 * Reads a file of apps.
 *
 * @throws {HoldfastError} ERR_HOLDFAST_APPS_FILE: everything that is wrong, with file, line, column and key.
 */
export function readAppsFile(given: string, checkAddress: CheckAddress): AppsFile {
  let text: string;
  try {
    text = readFileSync(given, 'utf8');
  } catch (error) {
    const what =
      errorCode(error) === 'ENOENT'
        ? `there is no ${given}; holdfast init writes one, -f names another`
        : `${given} cannot be read: ${errorText(error)}`;
    throw new HoldfastError('ERR_HOLDFAST_APPS_FILE', what, error);
  }
  return parseAppsFile(text, given, realpathSync(given), checkAddress);
}

/** The same of a text. `shown`: what messages call the file. */
export function parseAppsFile(
  text: string,
  shown: string,
  path: string,
  checkAddress: CheckAddress,
): AppsFile {
  const { document, position, problem } = readYaml(text, { merge: true });
  const refuse = (faults: readonly Fault[]): HoldfastError => {
    const lines = faults
      .map(({ path, kind, text }) => {
        const { key, value } = placeAt(document, path);
        const place = position(kind === 'value' ? (value ?? key) : key);
        const name = path.length === 0 ? 'the file' : path.join('.');
        return { ...place, text: `${name} ${text}` };
      })
      .sort((a, b) => a.line - b.line || a.column - b.column)
      .map(({ line, column, text }) => `${shown}:${line}:${column}: ${text}`);
    return new HoldfastError('ERR_HOLDFAST_APPS_FILE', lines.join('\n'));
  };
  if (problem !== undefined) {
    const { line, column } = position(problem.place);
    throw new HoldfastError('ERR_HOLDFAST_APPS_FILE', `${shown}:${line}:${column}: ${problem.text}`);
  }
  const checked = checkFile(contentOf(document, shown));
  if ('faults' in checked) throw refuse(checked.faults);
  const faults: Fault[] = [];
  const apps = Object.entries(checked.file.apps).map(([name, written]) =>
    appOf(name, written, { document, folder: dirname(path), checkAddress, faults }),
  );
  if (faults.length > 0) throw refuse(faults);
  return { path, apps };
}

/** @throws {HoldfastError} ERR_HOLDFAST_APPS_FILE: an alias names no anchor, or they multiply without bound. */
function contentOf(document: Document, shown: string): unknown {
  try {
    return document.toJS();
  } catch (error) {
    throw new HoldfastError('ERR_HOLDFAST_APPS_FILE', `${shown}: ${errorText(error)}`, error);
  }
}

interface Reading {
  readonly document: Document;
  readonly folder: string;
  readonly checkAddress: CheckAddress;
  /** Filled. */
  readonly faults: Fault[];
}

function appOf(name: string, written: WrittenApp, { document, folder, checkAddress, faults }: Reading): App {
  const fault = (text: string, ...path: readonly (string | number)[]): void => {
    faults.push({ path: ['apps', name, ...path], kind: 'value', text });
  };
  /** As the file spells it: 1.10 is no 1.1. */
  const spelled = (value: unknown, ...path: readonly (string | number)[]): string => {
    const { value: node, found } = placeAt(document, ['apps', name, ...path]);
    if (typeof value === 'number' && found && isScalar(node)) return node.source ?? String(value);
    return String(value);
  };
  const { command, directory = '.', env = {}, listen = [] } = written;
  const words =
    typeof command === 'string' ? splitWords(command) : command.map((one, at) => spelled(one, 'command', at));
  if ('why' in words) fault(`cannot be split into words: ${words.why}`, 'command');
  else if (words[0] === '') fault('names no program', 'command');
  const absolute = resolve(folder, directory);
  if (!statSync(absolute, { throwIfNoEntry: false })?.isDirectory()) {
    fault(`is no folder: ${absolute}`, 'directory');
  }
  const addresses = [listen].flat().map(String);
  addresses.forEach((address, index) => {
    try {
      checkAddress(address);
    } catch (error) {
      fault(`is wrong: ${errorText(error)}`, 'listen', ...(Array.isArray(listen) ? [index] : []));
    }
  });
  const options = OPTION_KEYS.filter((key) => key !== 'listen' && written[key] !== undefined);
  return {
    name,
    command: 'why' in words ? [] : words,
    directory: absolute,
    env: Object.fromEntries(Object.entries(env).map(([key, value]) => [key, spelled(value, 'env', key)])),
    options: {
      ...(addresses.length === 0 ? {} : { listen: addresses }),
      ...Object.fromEntries(options.map((key) => [key, written[key] as OptionValue])),
    },
  };
}

/** Where a key and its value stand; of what is not there, where it would belong. */
function placeAt(
  document: Document,
  path: readonly (string | number)[],
): { readonly key: Node | null; readonly value: Node | null; readonly found: boolean } {
  let key: Node | null = document.contents;
  let value: Node | null = document.contents;
  for (const step of path) {
    const inside: Node | null | undefined = isAlias(value) ? value.resolve(document) : value;
    if (isMap(inside)) {
      const pair = inside.items.find(
        (one) => String(isScalar(one.key) ? one.key.value : one.key) === `${step}`,
      );
      if (pair === undefined) return { key, value, found: false };
      key = pair.key as Node;
      value = (pair.value ?? null) as Node | null;
    } else if (isSeq(inside)) {
      value = (inside.items[Number(step)] ?? null) as Node | null;
      key = value ?? key;
    } else {
      return { key, value, found: false };
    }
  }
  return { key, value, found: true };
}
