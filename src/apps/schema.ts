import { z } from 'zod';
import { KEEPER_NAME } from '../model/keeper-name.js';
import { STOP_SIGNALS } from '../model/signals.js';

/** An app as its file has it, after the check. */
export interface WrittenApp {
  readonly command: string | readonly (string | number)[];
  readonly directory?: string;
  readonly env?: Readonly<Record<string, string | number | boolean>>;
  readonly listen?: string | number | readonly (string | number)[];
  /** Other options of `holdfast run`, by their names. */
  readonly [option: string]: unknown;
}

export interface WrittenFile {
  readonly apps: Readonly<Record<string, WrittenApp>>;
}

/** One thing by which a file is not as it should be. */
export interface Fault {
  /** Keys and indices that lead to it. */
  readonly path: readonly (string | number)[];
  /** `missing`: there is nothing at `path`. `key`: what stands there has a key, its last one, that must not be there. */
  readonly kind: 'value' | 'missing' | 'key';
  /** Begins with a verb. */
  readonly text: string;
}

const TIME = /^\d+(?:\.\d+)?(?:ms|s|m|h)?$/;
const READY = /^(?:listen|notify|ipc|http:\d{0,5}\/[!-~]*|delay:\d+(?:\.\d+)?(?:ms|s|m|h)?)$/;

const time = (description: string): z.ZodType => {
  const error = 'is a time such as 500ms, 10s, 2m or 1h';
  return z
    .union([z.string().regex(TIME, { error }), z.number().min(0, { error })], { error })
    .describe(description);
};

const flag = (description: string): z.ZodType =>
  z.boolean({ error: 'is true or false' }).describe(description);

const text = (description: string): z.ZodType =>
  z.string({ error: 'is a text' }).min(1, { error: 'is not empty' }).describe(description);

const whole = (error: string, max: number): z.ZodType =>
  z.int({ error }).min(1, { error }).max(max, { error });

const choice = (words: readonly string[], description: string): z.ZodType =>
  z.enum(words, { error: `is one of ${words.join(', ')}` }).describe(description);

const userOrGroup = (description: string): z.ZodType => {
  const error = 'is a name or a number';
  return z.union([z.string().min(1, { error }), z.int().min(0, { error })], { error }).describe(description);
};

const COMMAND = 'is a list of words, or a line of them';
const word = z.union([z.string(), z.number()], { error: COMMAND });
const LISTEN = 'is an address such as 8080, 127.0.0.1:80, [::]:80 or unix:/path, or a list of them';
const address = z.union([z.string().min(1, { error: LISTEN }), whole(LISTEN, 65_535)], { error: LISTEN });
const VARIABLE = 'is a text, a number, true or false';
const WORKERS = 'is a whole number from 1 to 999, or auto';
const STANDBY = 'is true, false, or a whole number from 1 to 999';
const OVERLAP = 'is true, false or none';
const LOG_FILE = 'is a path, or true for NAME.log in the state folder';
const SIZE = /^\d{1,12}[KMGkmg]?$/;
const SIZE_TEXT = 'is a size such as 512K, 10M or 1G';
const WATCH = 'is true, false, or a list of patterns';

/** Options of `holdfast run` that a file may have beside `listen`. */
const OPTIONS = {
  workers: z
    .union([whole(WORKERS, 999), z.literal('auto', { error: WORKERS })], { error: WORKERS })
    .describe('How many copies of the server share its sockets; auto: one for each CPU. Default 1.'),
  standby: z
    .union([z.boolean(), whole(STANDBY, 999)], { error: STANDBY })
    .describe('How many more copies wait, started, until one dies; true: 1.'),
  'standby-max-age': time('How long a standby waits before it is started anew. Default 10m.'),
  ready: z
    .string({ error: 'is a text' })
    .regex(READY, { error: 'is listen, notify, ipc, http:/path, http:8080/path or delay:3s' })
    .describe(
      'What makes a new generation ready: listen, notify, ipc, http:/path, delay:3s. Default listen.',
    ),
  'ready-timeout': time('At a reload, how long the new generation may take. Default 60s.'),
  overlap: z
    .union([z.boolean(), z.literal('none')], { error: OVERLAP })
    .describe(
      'none or false: at a reload the old generation is stopped before the new one starts. Default true.',
    ),
  'drain-wait': choice(
    ['idle', 'open', 'queue'],
    "At a reload, what the old generation's connections are waited for. Default idle.",
  ),
  'drain-quiet': time('How long a connection is still until it is idle. Default 1s.'),
  'drain-timeout': time('How long connections are waited for at most. Default 30s.'),
  park: time('How long the old generation is kept after that, for a way back. Default 0s.'),
  'stop-signal': choice(STOP_SIGNALS, 'Asks the server to end. Default SIGTERM.'),
  'stop-timeout': time('From the stop signal to SIGKILL. Default 10s.'),
  restart: choice(['always', 'on-failure', 'never'], 'When the server is started again. Default on-failure.'),
  'max-backoff': time('The longest wait before the server is started again. Default 10s.'),
  'hold-for': time('How long clients may wait while no server comes up. Default 30s.'),
  user: userOrGroup('Runs the server as this user (as root).'),
  group: userOrGroup('Runs the server as this group (as root).'),
  trap: flag('false: only the addresses of listen are kept. Default true.'),
  'log-file': z
    .union([z.boolean(), z.string().min(1, { error: LOG_FILE })], { error: LOG_FILE })
    .describe("The file that the server's output goes to. Default: NAME.log in the state folder."),
  'log-max-size': z
    .union([z.string().regex(SIZE, { error: SIZE_TEXT }), whole(SIZE_TEXT, Number.MAX_SAFE_INTEGER)], {
      error: SIZE_TEXT,
    })
    .describe('From where on the content of that file becomes PATH.1. Default 10M.'),
  metrics: text('Where /metrics for Prometheus and /ready are served: 127.0.0.1:9469.'),
  graceful: choice(
    ['node'],
    'At the stop signal a Node server answers all, and tells kept connections to close.',
  ),
  watch: z
    .union([flag(''), z.array(z.string()).min(1, { error: WATCH })], { error: WATCH })
    .describe('For development: reload when files change; a list: those that match.'),
  log: choice(['text', 'json'], "The keeper's own lines in the log. Default text."),
};

const app = z.strictObject(
  {
    command: z
      .union([z.string().min(1, { error: COMMAND }), z.array(word).min(1, { error: COMMAND })], {
        error: COMMAND,
      })
      .describe(
        'The server and its arguments: a list of words, or a line that is split at blanks and quotes.',
      ),
    directory: text(
      'Where the server starts, seen from the folder of this file. Default: that folder.',
    ).optional(),
    env: z
      .record(
        z.string().regex(/^[^=\0]+$/, { error: 'is no name of a variable: it has no "="' }),
        z.union([z.string(), z.number(), z.boolean()], { error: VARIABLE }),
        { error: 'maps variables to values' },
      )
      .describe('Variables for the server, beside those that holdfast up has.')
      .optional(),
    listen: z
      .union([address, z.array(address).min(1, { error: LISTEN })], { error: LISTEN })
      .describe('Addresses that are bound first and handed over: 8080, 127.0.0.1:80, [::]:80, unix:/path.')
      .optional(),
    ...Object.fromEntries(Object.entries(OPTIONS).map(([name, schema]) => [name, schema.optional()])),
  },
  {
    error: (issue) =>
      issue.code === 'invalid_type' ? 'maps keys to values, with command at least' : undefined,
  },
);

const NAME = 'is no name of an app: 1 to 64 letters, digits, dots, dashes or underscores';

const file = z.strictObject(
  {
    apps: z
      .record(z.string().regex(KEEPER_NAME, { error: NAME }), app, { error: 'maps names to apps' })
      .describe('The apps by name.'),
  },
  { error: (issue) => (issue.code === 'invalid_type' ? 'is a mapping with the key apps' : undefined) },
);

/** The keys that an app may have. */
export const APP_KEYS: readonly string[] = Object.keys(app.shape);

/** The keys of an app that are options of `holdfast run`. */
export const OPTION_KEYS: readonly string[] = ['listen', ...Object.keys(OPTIONS)];

/** Checks what a YAML file holds. */
export function checkFile(
  content: unknown,
): { readonly file: WrittenFile } | { readonly faults: readonly Fault[] } {
  const checked = file.safeParse(content);
  if (checked.success) return { file: checked.data as WrittenFile };
  return { faults: checked.error.issues.flatMap((issue) => faultsOf(issue, content)) };
}

/** The JSON schema by which editors complete and check a file. */
export function jsonSchema(): object {
  return {
    ...z.toJSONSchema(file, { target: 'draft-7', io: 'input' }),
    title: 'The apps of holdfast up',
  };
}

function faultsOf(issue: z.core.$ZodIssue, content: unknown): readonly Fault[] {
  const path = issue.path.map((step) => (typeof step === 'number' ? step : String(step)));
  if (issue.code === 'unrecognized_keys') {
    const known = path.length === 0 ? ['apps'] : APP_KEYS;
    return issue.keys.map((key) => ({
      path: [...path, key],
      kind: 'key',
      text: `is no key here; there are ${known.join(', ')}`,
    }));
  }
  if (issue.code === 'invalid_key') {
    return [{ path, kind: 'key', text: issue.issues[0]?.message ?? issue.message }];
  }
  const value = valueAt(content, path);
  if (value === undefined) return [{ path, kind: 'missing', text: 'is missing' }];
  // Variables may be secrets.
  const shown = typeof value === 'object' && value !== null ? '' : `, not ${JSON.stringify(value)}`;
  const isVariable = path[0] === 'apps' && path[2] === 'env';
  return [{ path, kind: 'value', text: `${issue.message}${isVariable ? '' : shown}` }];
}

function valueAt(content: unknown, path: readonly (string | number)[]): unknown {
  let at = content;
  for (const step of path) {
    if (typeof at !== 'object' || at === null) return undefined;
    at = (at as Record<string | number, unknown>)[step];
  }
  return at;
}
