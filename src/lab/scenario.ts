import { isMap, isScalar, isSeq, type Node, type YAMLMap } from 'yaml';
import { errorText, HoldfastError } from '../errors.js';
import { readYaml, type YamlPlace } from '../yaml-source.js';
import { parseStep, type Step } from './script.js';
import { type GivenSysctls, readSysctl } from './sysctls.js';

/** What is tried, whose claim it is, and what has to come of it. */
export interface Scenario {
  readonly id: string;
  readonly title: string;
  /** Who says so: a page, a manual, a kernel function. */
  readonly source: string;
  /** In their words or ours. Absent where nothing is claimed. */
  readonly claim?: string;
  /** Why it is as it is. */
  readonly why?: string;
  /** What the verdict depends on, if it does. */
  readonly depends?: string;
  /** Takes longer than a few seconds: left out with --quick. */
  readonly slow: boolean;
  readonly cases: readonly Case[];
}

/** One course of events. */
export interface Case {
  /** What sets it apart from the others; empty for the only one. */
  readonly when: string;
  readonly sysctls: GivenSysctls;
  /** File and line where they stand. */
  readonly sysctlsAt: string;
  readonly steps: readonly Step[];
}

/**
 * Reads a file of scenarios: one YAML mapping, or a sequence of them.
 *
 * @throws {HoldfastError} ERR_HOLDFAST_SCENARIO with file, line and what was expected.
 */
export function parseScenarios(text: string, file: string): readonly Scenario[] {
  const { document, position, problem } = readYaml(text);
  const at: Wrong['at'] = (node) => `${file}:${position(node).line}`;
  const wrong: Wrong = Object.assign(
    (node: YamlPlace, what: string) => new HoldfastError('ERR_HOLDFAST_SCENARIO', `${at(node)}: ${what}`),
    { at },
  );
  if (problem !== undefined) throw wrong(problem.place, problem.text);
  const { contents } = document;
  if (contents === null) throw wrong(0, 'there is no scenario; a scenario has id, title, source and steps');
  const nodes = isSeq(contents) ? contents.items : [contents];
  return nodes.map((node) => readScenario(node as Node, wrong));
}

/** Whether it has sockets of other users or calls without privilege, which only root can try. */
export function needsRoot({ cases }: Scenario): boolean {
  return cases.some(({ steps }) =>
    steps.some(
      ({ action }) =>
        ((action.do === 'socket' || action.do === 'accept') && action.uid !== 0) ||
        (action.do === 'bind' && action.unprivileged),
    ),
  );
}

/** Makes the error for a place of the file, or tells the place. */
interface Wrong {
  (node: YamlPlace, what: string): HoldfastError;
  at(node: YamlPlace): string;
}

const KEYS = ['id', 'title', 'source', 'claim', 'why', 'depends', 'slow', 'sysctls', 'steps', 'cases'];
const CASE_KEYS = ['when', 'sysctls', 'steps'];

function readScenario(node: Node, wrong: Wrong): Scenario {
  const map = mapping(node, KEYS, 'a scenario', wrong);
  const id = text(map, 'id', wrong);
  if (!/^[A-Za-z0-9][A-Za-z0-9._-]*$/.test(id)) {
    throw wrong(map.get('id', true) as Node, `an id has letters, digits, "-", "_" and ".", not "${id}"`);
  }
  const cases = map.has('cases')
    ? sequence(map, 'cases', wrong).map((one) => readCase(mapping(one, CASE_KEYS, 'a case', wrong), wrong))
    : [readCase(map, wrong)];
  return {
    id,
    title: text(map, 'title', wrong),
    source: text(map, 'source', wrong),
    ...optional(map, 'claim', wrong),
    ...optional(map, 'why', wrong),
    ...optional(map, 'depends', wrong),
    slow: flag(map, 'slow', wrong),
    cases,
  };
}

function readCase(map: YAMLMap, wrong: Wrong): Case {
  return {
    when: map.has('when') ? text(map, 'when', wrong) : '',
    sysctls: readSysctls(map, wrong),
    sysctlsAt: wrong.at(map.get('sysctls', true) as unknown as Node | undefined),
    steps: sequence(map, 'steps', wrong).flatMap((step) => readStep(step, wrong)),
  };
}

/** A line, or `{ repeat: N, steps: [...] }` in whose lines `#` stands for 1 to N. */
function readStep(node: Node, wrong: Wrong): readonly Step[] {
  if (isMap(node)) {
    const map = mapping(node, ['repeat', 'steps'], 'a repetition', wrong);
    const times = map.get('repeat');
    if (typeof times !== 'number' || times < 1 || times > 10_000) {
      throw wrong(map.get('repeat', true) as Node, 'repeat is a number from 1 to 10000');
    }
    const steps = sequence(map, 'steps', wrong);
    return Array.from({ length: times }, (_, index) =>
      steps.map((step) => readLine(step, wrong, index + 1)),
    ).flat();
  }
  return [readLine(node, wrong)];
}

function readLine(node: Node, wrong: Wrong, iteration?: number): Step {
  if (!isScalar(node) || typeof node.value !== 'string') {
    throw wrong(node, 'a step is one line such as "server.bind 0.0.0.0:P -> EADDRINUSE"');
  }
  const line = iteration === undefined ? node.value : node.value.replaceAll('#', `${iteration}`);
  try {
    return parseStep(line, wrong.at(node));
  } catch (error) {
    throw wrong(node, `"${line}": ${errorText(error)}`);
  }
}

function readSysctls(map: YAMLMap, wrong: Wrong): Case['sysctls'] {
  const node = map.get('sysctls', true) as unknown as Node | undefined;
  if (node === undefined) return {};
  if (!isMap(node)) throw wrong(node, 'sysctls is a mapping such as { tcp_tw_reuse: 1 }');
  return Object.fromEntries(
    node.items.map(({ key, value }) => {
      const name = isScalar(key) ? String(key.value) : '';
      if (!isScalar(value) || (typeof value.value !== 'number' && typeof value.value !== 'string')) {
        throw wrong(key as Node, `the sysctl ${name} has no number or text`);
      }
      try {
        readSysctl(name, value.value);
      } catch (error) {
        throw wrong(key as Node, errorText(error));
      }
      return [name, value.value];
    }),
  );
}

function mapping(node: Node | null, keys: readonly string[], what: string, wrong: Wrong): YAMLMap {
  if (!isMap(node)) throw wrong(node, `${what} is a mapping with ${keys.join(', ')}`);
  for (const { key } of node.items) {
    const name = isScalar(key) ? String(key.value) : '';
    if (!keys.includes(name)) throw wrong(key as Node, `${what} has no "${name}"; it has ${keys.join(', ')}`);
  }
  return node;
}

function text(map: YAMLMap, key: string, wrong: Wrong): string {
  const value = map.get(key);
  if (typeof value === 'number') return String(value);
  if (typeof value !== 'string' || value === '') {
    throw wrong((map.get(key, true) as unknown as Node | undefined) ?? map, `"${key}" is missing or no text`);
  }
  return value;
}

function flag(map: YAMLMap, key: string, wrong: Wrong): boolean {
  const value = map.get(key) ?? false;
  if (typeof value === 'boolean') return value;
  throw wrong(map.get(key, true) as unknown as Node, `"${key}" is true or false`);
}

function optional<K extends string>(map: YAMLMap, key: K, wrong: Wrong): { readonly [P in K]?: string } {
  return (map.has(key) ? { [key]: text(map, key, wrong) } : {}) as { readonly [P in K]?: string };
}

function sequence(map: YAMLMap, key: string, wrong: Wrong): readonly Node[] {
  const node = map.get(key, true) as unknown as Node | undefined;
  if (node === undefined || !isSeq(node) || node.items.length === 0) {
    throw wrong(node ?? map, `"${key}" is a list of lines`);
  }
  return node.items as Node[];
}
