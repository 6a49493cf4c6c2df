import { expect, test } from 'vitest';
import { answerOf, holdfastCommand } from '../../src/fan/answer.js';
import type { FanResult, Output } from '../../src/fan/fan.js';

const FORM = {
  statuses: [0, 1],
  read: (json: unknown) => ((json as { schema?: number }).schema === 1 ? 'read' : undefined),
};

/** What was read, or why not. */
const CASES: Readonly<Record<string, { readonly result: Partial<FanResult>; readonly is: string }>> = {
  'an answer': { result: { stdout: output('{ "schema": 1 }\n') }, is: 'read' },
  'an answer with status 1': { result: { status: 1, stdout: output('{"schema":1}') }, is: 'read' },
  'an answer behind what a start file of the shell says': {
    result: { stdout: output('Welcome!\n{ "schema": 1 }\n') },
    is: 'read',
  },
  'an answer of a version to come': { result: { stdout: output('{ "schema": 2 }') }, is: 'other-version' },
  'a command that it does not know': {
    result: {
      status: 2,
      stderr: output("holdfast: unknown command 'why'\nholdfast --help lists the commands"),
    },
    is: 'other-version',
  },
  'an option that it does not know': {
    result: {
      status: 2,
      stderr: output("holdfast: unknown option '--json'\nholdfast reload --help tells more"),
    },
    is: 'other-version',
  },
  'a failure': {
    result: { status: 2, stderr: output('holdfast: no keeper named "shop" runs [ERR_HOLDFAST_NOT_RUNNING]') },
    is: 'failed: no keeper named "shop" runs [ERR_HOLDFAST_NOT_RUNNING]',
  },
  'sudo that asks for a password': {
    result: { status: 1, stderr: output('sudo: a password is required\n') },
    is: 'failed: sudo: a password is required',
  },
  'no holdfast': {
    result: { status: 127, stderr: output('sh: 1: exec: holdfast: not found') },
    is: 'no-holdfast',
  },
  'no holdfast, by rsh': {
    result: { status: 127, stdout: output('exec: holdfast: not found') },
    is: 'no-holdfast',
  },
  'a signal': { result: { status: 137 }, is: 'failed: exit 137 without a word' },
  'a host that is not there': {
    result: { status: null, error: { phase: 'resolve', text: 'there is none' } },
    is: 'unreachable: there is none [resolve]',
  },
  'a connection that ended': {
    result: { status: null, error: { phase: 'lost', text: 'the connection ended' } },
    is: 'lost',
  },
  'no answer in time': {
    result: { status: null, timedOut: true, error: { phase: 'run', text: 'not over after 1000 ms' } },
    is: 'timed-out',
  },
  'one that was stopped before it was begun': {
    result: { status: null, attempts: 0, error: { phase: 'stopped', text: 'stopped' } },
    is: 'not-begun',
  },
  'one that was stopped': {
    result: { status: null, error: { phase: 'stopped', text: 'stopped' } },
    is: 'stopped',
  },
};

for (const [what, { result, is }] of Object.entries(CASES)) {
  test(`${what}: ${is}`, () => {
    const read = answerOf({ ...SILENT, ...result }, FORM);
    expect(read.host).toBe('web1');
    expect(read.ok ? read.answer : `${read.reason}: ${read.text}`).toMatch(new RegExp(`^${escaped(is)}`));
  });
}

test('the words arrive behind a shell that looks for holdfast', () => {
  expect(holdfastCommand(['sudo', '-n', 'holdfast'], ['why', '80']).slice(3)).toEqual([
    ...['sudo', '-n', 'holdfast', 'why', '80'],
  ]);
});

const SILENT: FanResult = {
  ...{
    host: 'web1',
    status: 0,
    signal: null,
    timedOut: false,
    error: null,
    ms: 1,
    attempts: 1,
    closedFirst: 0,
  },
  ...{ stdout: output(''), stderr: output('') },
};

function output(text: string): Output {
  return { text: () => text } as Output;
}

function escaped(text: string): string {
  return text.replace(/[[\]".]/g, '\\$&');
}
