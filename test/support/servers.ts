import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type NodeVersion, pathOf, type Requirement } from '../../scripts/requirements.js';
import { build, buildFolder, type Recipe } from './build.js';
import { binaryOf } from './requirement.js';
import { temporaryFolder } from './temporary.js';

/** A real server that tests keep. It answers every GET with `pid N`, N being the process that answered. */
export interface TestServer {
  readonly name: string;
  readonly needs: readonly (Requirement | NodeVersion)[];
  /**
   * The command that serves 127.0.0.1:port, or every address where its comment says so.
   *
   * @throws Error with the line that installs what is missing.
   */
  command(port: number, ...options: readonly string[]): string[];
}

/** Dual stack. Options: `--host`, `--delay MS` per answer, `--boot MS` before bind, `--graceful`. */
export const nodeHttp: TestServer = {
  name: 'node',
  needs: [],
  command: (port, ...options) => [process.execPath, source('node-http.js'), `${port}`, ...options],
};

/** The same by another Node. */
export function nodeHttpOn(version: NodeVersion): TestServer {
  return {
    name: version,
    needs: [version],
    command: (port, ...options) => [binaryOf(version), source('node-http.js'), `${port}`, ...options],
  };
}

/** `python3 -m http.server`: a blocking accept, listen(5), SO_REUSEADDR. It does not say its pid. */
export const pythonHttp: TestServer = {
  name: 'python',
  needs: ['python3'],
  command: (port, ...options) => [
    binaryOf('python3'),
    ...['-m', 'http.server', `${port}`, '--bind', '127.0.0.1', '--directory', temporaryFolder()],
    ...options,
  ],
};

/** http.server with a thread for each request. A request's ?delay=MS is how long its answer takes. */
export const pythonThreads: TestServer = {
  name: 'python with threads',
  needs: ['python3'],
  command: (port) => [binaryOf('python3'), source('threads.py'), `${port}`],
};

/** A master and 2 workers; the workers answer. */
export const gunicorn: TestServer = {
  name: 'gunicorn',
  needs: ['python3', 'gunicorn'],
  command: (port, ...options) => [
    binaryOf('python3'), // by the system's Python, whatever the script's first line finds in PATH
    ...['-B', binaryOf('gunicorn'), '-w', '2', '--chdir', source(''), '--bind', `127.0.0.1:${port}`],
    ...[...options, 'wsgi:app'],
  ],
};

/** A master and 2 workers; the workers answer. Options are flags of the `listen` line. */
export const nginx: TestServer = {
  name: 'nginx',
  needs: ['nginx'],
  command: (port, ...options) => [binaryOf('nginx'), ...nginxArguments(port, options)],
};

/** Each of the 2 workers has an SO_REUSEPORT socket of its own. */
export const nginxReuseport: TestServer = {
  name: 'nginx reuseport',
  needs: ['nginx'],
  command: (port, ...options) => nginx.command(port, 'reuseport', ...options),
};

/** net/http, dual stack. An option is the host. */
export const goHttp: TestServer = {
  name: 'go',
  needs: ['go'],
  command: (port, ...options) => [build(goRecipe('go-http', 'go/main.go')), `${port}`, ...options],
};

/** The JDK's HttpServer. An option is the host. */
export const javaHttp: TestServer = {
  name: 'java',
  needs: ['java'],
  command: (port, ...options) => [
    binaryOf('java').replace(/javac$/, 'java'),
    ...['-Xmx64m', '-XX:+UseSerialGC', '-XX:TieredStopAtLevel=1', '-cp', build(javaRecipe), 'HttpServer'],
    ...[`${port}`, ...options],
  ],
};

/** C, static, one thread, no grace at SIGTERM. Options: see static.c. */
export const staticHttp: TestServer = {
  name: 'static',
  needs: ['cc'],
  command: (port, ...options) => [build(staticRecipe), `${port}`, ...options],
};

/** Every kind of real server, for tests that are true of all. */
export const servers: readonly TestServer[] = [
  nodeHttp,
  pythonHttp,
  gunicorn,
  nginx,
  nginxReuseport,
  goHttp,
  javaHttp,
  staticHttp,
];

/** The programs in test/servers/traps; each names its trap and its arguments in its first lines. */
export const traps = [
  'blocking-accept',
  'close-reopen',
  'connect-from-port',
  'daemonize',
  'deny',
  'dup-before-bind',
  'epoll-before-bind',
  'exec-after-bind',
  'ignore-sigterm',
  'netlink',
  'options',
  'port-prober',
  'print-ids',
  'reuseport-many',
  'signals',
  'undumpable',
] as const;

export type Trap = (typeof traps)[number];

/** A probe that serves a port. */
export function trap(name: Trap): TestServer {
  return {
    name,
    needs: [name === 'signals' ? 'go' : 'cc'],
    command: (port, ...options) => [trapPath(name), `${port}`, ...options],
  };
}

/** The built probe. @throws Error with the line that installs the compiler. */
export function trapPath(name: Trap): string {
  return build(trapRecipe(name));
}

/**
 * Builds everything that is not built, before the first test: Go compiles its library for half a minute the first
 * time, which no test's timeout should have to cover. A compiler that is missing is left to the tests that need it.
 */
export function buildServers(): void {
  const recipes = [staticRecipe, javaRecipe, goRecipe('go-http', 'go/main.go'), ...traps.map(trapRecipe)];
  for (const recipe of recipes) if (pathOf(recipe.needs) !== undefined) build(recipe);
}

function trapRecipe(name: Trap): Recipe {
  if (name === 'signals') return goRecipe(name, 'traps/signals.go');
  return cRecipe(name, `traps/${name}.c`, 'traps/serve.h');
}

function cRecipe(name: string, file: string, ...headers: string[]): Recipe {
  return {
    name,
    needs: 'cc',
    sources: [file, ...headers].map(source),
    command: ['-static', '-O2', '-Wall', '-Wextra', '-pthread', '-o', '@OUT@', source(file)],
  };
}

function goRecipe(name: string, file: string): Recipe {
  return {
    name,
    needs: 'go',
    sources: [source(file)],
    command: ['build', '-o', '@OUT@', source(file)],
    env: {
      CGO_ENABLED: '0',
      GOCACHE: join(buildFolder, 'go-cache'),
      GOENV: 'off',
      GOFLAGS: '',
      GOPROXY: 'off',
      GOTOOLCHAIN: 'local',
    },
  };
}

const staticRecipe = cRecipe('static', 'static.c');

const javaRecipe: Recipe = {
  name: 'java-http',
  needs: 'java',
  sources: [source('HttpServer.java')],
  command: ['-d', '@OUT@', source('HttpServer.java')],
};

function nginxArguments(port: number, flags: readonly string[]): string[] {
  const folder = temporaryFolder();
  const conf = readFileSync(source('nginx.conf'), 'utf8')
    .replaceAll('@DIR@', folder)
    .replaceAll('@LISTEN@', [`127.0.0.1:${port}`, ...flags].join(' '));
  writeFileSync(join(folder, 'nginx.conf'), conf);
  // An ordinary user's nginx says that it cannot open the compiled-in log, and goes on to read where ours is.
  return ['-c', join(folder, 'nginx.conf')];
}

function source(file: string): string {
  return fileURLToPath(new URL(`../servers/${file}`, import.meta.url));
}
