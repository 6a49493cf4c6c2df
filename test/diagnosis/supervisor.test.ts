import { expect, test } from 'vitest';
import { readCgroup } from '../../src/diagnosis/cgroup.js';
import type { ContainerReport } from '../../src/diagnosis/container.js';
import {
  findSupervisor,
  type Lineage,
  type SeenProcess,
  type Supervisor,
} from '../../src/diagnosis/supervisor.js';
import { programOf } from '../../src/model/program.js';

const ID = '9ec39b91f3d70e1beff50a308f77067065ea6be0d91a3378375056cd4422cf3d';
const PID = 100;

interface Given {
  readonly cmdline?: readonly string[];
  readonly exe?: string;
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
}

function seen(pid: number, { cmdline = ['node', 'server.js'], exe, cwd, env = {} }: Given): SeenProcess {
  return {
    pid,
    comm: (cmdline[0] ?? '').slice(0, 15),
    cmdline,
    exe: () => exe,
    cwd: () => cwd,
    env: (name) => env[name],
  };
}

/** Parents have the pids 101, 102 …; the last one is 1. */
function lineage(
  self: Given,
  parents: readonly Given[],
  { cgroup = '/', own = '/user.slice/session-3.scope', ...rest }: LineageOptions = {},
): Lineage {
  return {
    self: seen(PID, self),
    parents: [
      ...parents.map((parent, index) => seen(PID + 1 + index, parent)),
      seen(1, { cmdline: ['/sbin/init'] }),
    ],
    cgroup: readCgroup(cgroup),
    own: readCgroup(own),
    hasTerminal: false,
    container: null,
    otherUser: undefined,
    ...rest,
  };
}

type LineageOptions = Partial<Omit<Lineage, 'cgroup' | 'own' | 'self' | 'parents'>> & {
  readonly cgroup?: string;
  readonly own?: string;
};

/** What a parent with this command line is told as. */
const PARENTS: readonly (readonly [fact: string, parent: Given, self: Given, told: Partial<Supervisor>])[] = [
  [
    'nodemon',
    { cmdline: ['node', '/shop/node_modules/.bin/nodemon', 'server.js'] },
    {},
    { kind: 'watcher', name: 'nodemon', restarts: 'on-change', stop: ['kill', '101'] },
  ],
  [
    'ts-node-dev by its own file',
    { cmdline: ['node', '/shop/node_modules/ts-node-dev/lib/bin.js', '--respawn', 'a.ts'] },
    {},
    { kind: 'watcher', name: 'ts-node-dev' },
  ],
  [
    'tsx watch',
    { cmdline: ['/usr/bin/node', '/shop/node_modules/tsx/dist/cli.mjs', 'watch', 'a.ts'] },
    {},
    { kind: 'watcher', name: 'tsx' },
  ],
  [
    "Node's own watcher",
    { cmdline: ['node', '--watch', 'server.js'], exe: '/usr/bin/node' },
    { exe: '/usr/bin/node' },
    { kind: 'watcher', name: 'server.js', restarts: 'on-change' },
  ],
  ['watchexec', { cmdline: ['watchexec', '-r', 'node', 'server.js'] }, {}, { kind: 'watcher' }],
  ['entr', { cmdline: ['entr', '-r', 'node', 'server.js'] }, {}, { kind: 'watcher', name: 'entr' }],
  [
    'pm2, which tells the name of the app',
    { cmdline: ['PM2 v5.3.0: God Daemon (/home/ana/.pm2)'] },
    { env: { name: 'shop', pm_id: '3' } },
    { kind: 'pm2', name: 'shop', pid: 101, restarts: 'yes', stop: ['pm2', 'stop', 'shop'] },
  ],
  [
    'pm2 of another user, whose app may not be asked',
    { cmdline: ['PM2 v5.3.0: God Daemon (/home/ana/.pm2)'] },
    {},
    { kind: 'pm2', name: 'pm2', stop: null },
  ],
  [
    'supervisord, a process of a group',
    { cmdline: ['/usr/bin/python3', '/usr/bin/supervisord', '-c', '/etc/supervisor/supervisord.conf'] },
    { env: { SUPERVISOR_PROCESS_NAME: 'web_00', SUPERVISOR_GROUP_NAME: 'web' } },
    { kind: 'supervisord', name: 'web:web_00', stop: ['supervisorctl', 'stop', 'web:web_00'] },
  ],
  [
    'supervisord, a process by itself',
    { cmdline: ['/usr/bin/python3', '/usr/bin/supervisord'] },
    { env: { SUPERVISOR_PROCESS_NAME: 'web', SUPERVISOR_GROUP_NAME: 'web' } },
    { stop: ['supervisorctl', 'stop', 'web'] },
  ],
  [
    'forever, which takes the pid of what it runs',
    { cmdline: ['/usr/bin/node', '/usr/lib/node_modules/forever/bin/monitor', 'server.js'] },
    {},
    { kind: 'forever', stop: ['forever', 'stop', '100'] },
  ],
  [
    'runit',
    { cmdline: ['runsv', 'web'], cwd: '/etc/sv/web' },
    {},
    { kind: 'runit', name: 'web', stop: ['sv', 'down', '/etc/sv/web'] },
  ],
  [
    's6',
    { cmdline: ['s6-supervise', 'web'], cwd: '/run/service/web' },
    {},
    { kind: 's6', name: 'web', stop: ['s6-svc', '-d', '/run/service/web'] },
  ],
  [
    's6 of another user, whose folder may not be seen',
    { cmdline: ['s6-supervise', 'web'] },
    {},
    { stop: ['s6-svc', '-d', 'web'] },
  ],
  [
    'daemontools',
    { cmdline: ['supervise', 'web'], cwd: '/service/web' },
    {},
    { kind: 'daemontools', stop: ['svc', '-d', '/service/web'] },
  ],
  [
    'OpenRC',
    { cmdline: ['supervise-daemon', 'web', '--start', '/usr/bin/web'] },
    {},
    { kind: 'openrc', name: 'web', stop: ['rc-service', 'web', 'stop'] },
  ],
  [
    'a keeper with a name',
    { cmdline: ['node', '/usr/bin/holdfast', 'run', '--name', 'shop', '--', 'node', 'server.js'] },
    {},
    { kind: 'holdfast', name: 'shop', stop: ['holdfast', 'stop', 'shop'] },
  ],
  [
    'a keeper with a name after =',
    { cmdline: ['node', '/usr/bin/holdfast', 'run', '--name=shop', '--', 'x', '--name', 'y'] },
    {},
    { name: 'shop' },
  ],
  [
    'a keeper with the name of its folder',
    {
      cmdline: [
        'node',
        '/usr/lib/node_modules/holdfast/dist/cli/main.cjs',
        'run',
        '--',
        'x',
        '--name',
        'not',
      ],
      cwd: '/home/ana/My Shop',
    },
    {},
    { name: 'My-Shop', stop: ['holdfast', 'stop', 'My-Shop'] },
  ],
  [
    'a keeper whose name is unknown',
    { cmdline: ['node', '/usr/bin/holdfast', 'run', '--', 'x'] },
    {},
    { name: 'holdfast', stop: ['kill', '101'] },
  ],
  [
    "nginx's master",
    { cmdline: ['nginx: master process /usr/sbin/nginx'], exe: '/usr/sbin/nginx' },
    { cmdline: ['nginx: worker process'], exe: '/usr/sbin/nginx' },
    { kind: 'master', name: 'nginx', pid: 101, restarts: 'yes', stop: ['kill', '101'] },
  ],
  [
    "gunicorn's master, whose program is the interpreter",
    { cmdline: ['/usr/bin/python3', '/usr/bin/gunicorn', 'app'] },
    { cmdline: ['/usr/bin/python3', '/usr/bin/gunicorn', 'app'] },
    { kind: 'master', name: 'gunicorn' },
  ],
  [
    "uWSGI's master, for which SIGTERM is a reload",
    { cmdline: ['/usr/bin/uwsgi', '--ini', 'a'], exe: '/usr/bin/uwsgi' },
    { cmdline: ['/usr/bin/uwsgi', '--ini', 'a'], exe: '/usr/bin/uwsgi' },
    { kind: 'master', stop: ['kill', '-INT', '101'] },
  ],
  [
    'the primary of a Node cluster',
    { cmdline: ['node', 'cluster.js'], exe: '/usr/bin/node' },
    { cmdline: ['node', '/shop/worker.js'], exe: '/usr/bin/node', env: { NODE_UNIQUE_ID: '1' } },
    { kind: 'master', name: 'cluster.js' },
  ],
  [
    'forked workers of an interpreter, which keep the command line',
    { cmdline: ['python3', 'server.py', '8080'], exe: '/usr/bin/python3' },
    { cmdline: ['python3', 'server.py', '8080'], exe: '/usr/bin/python3' },
    { kind: 'master', name: 'server.py' },
  ],
  [
    'foreman, which calls itself a master and ends with any of its processes',
    { cmdline: ['foreman: master'] },
    {},
    { kind: 'procfile', name: 'foreman', restarts: 'ends', stop: ['kill', '101'] },
  ],
  [
    'overmind, which runs all in a tmux of its own',
    { cmdline: ['tmux', '-C', '-L', 'overmind-shop-AbC', '-f', '/tmp/x', 'new-session'] },
    {},
    { kind: 'procfile', name: 'overmind', stop: ['overmind', 'stop'] },
  ],
  [
    'npm, which ends with what it runs',
    { cmdline: ['npm run dev'] },
    {},
    { kind: 'runner', name: 'npm', pid: 101, restarts: 'ends', stop: null },
  ],
  [
    'yarn of the project',
    { cmdline: ['node', '/shop/.yarn/releases/yarn-4.1.0.cjs', 'dev'] },
    {},
    { kind: 'runner', name: 'yarn' },
  ],
  ['pnpm', { cmdline: ['node', '/usr/bin/pnpm', 'dev'] }, {}, { kind: 'runner', name: 'pnpm' }],
];

for (const [fact, parent, self, told] of PARENTS) {
  test(`started by ${fact}`, () => {
    expect(findSupervisor(lineage(self, [parent]))).toMatchObject(told);
  });
}

const NOBODY: readonly (readonly [fact: string, parent: Given, self: Given])[] = [
  ['a shell', { cmdline: ['-bash'], exe: '/bin/bash' }, {}],
  [
    'a shell of the same program',
    { cmdline: ['bash'], exe: '/bin/bash' },
    { cmdline: ['bash', 'a.sh'], exe: '/bin/bash' },
  ],
  [
    'a copy of a shell',
    { cmdline: ['sh', 'a.sh'], exe: '/bin/sh' },
    { cmdline: ['sh', 'a.sh'], exe: '/bin/sh' },
  ],
  [
    'busybox, which is everything',
    { cmdline: ['sh'], exe: '/bin/busybox' },
    { cmdline: ['httpd'], exe: '/bin/busybox' },
  ],
  [
    'another program of the same interpreter',
    { cmdline: ['node', 'make.js'], exe: '/usr/bin/node' },
    { cmdline: ['node', 'server.js'], exe: '/usr/bin/node' },
  ],
  ["a program that has holdfast's verb", { cmdline: ['node', '/other/dist/cli/main.cjs', 'run'] }, {}],
  ['a shell whose text names a watcher', { cmdline: ['sh', '-c', 'nodemon server.js'] }, {}],
];

for (const [fact, parent, self] of NOBODY) {
  test(`nobody starts again what was started by ${fact}`, () => {
    expect(findSupervisor(lineage(self, [parent]))).toBeUndefined();
  });
}

test('nobody starts again what the first process has adopted', () => {
  const nginx: Given = { cmdline: ['nginx'], exe: '/sbin/init' };
  const adopted = lineage(nginx, []);
  expect(
    findSupervisor({ ...adopted, parents: [seen(1, { cmdline: ['/sbin/init'], exe: '/sbin/init' })] }),
  ).toBeUndefined();
});

const SERVICE = '/system.slice/web.service';
const USER_SERVICE = '/user.slice/user-1000.slice/user@1000.service/app.slice/shop.service';
const NPM: Given = { cmdline: ['npm run dev'] };
const SHELL: Given = { cmdline: ['sh', '-c', 'x'] };
const NODEMON: Given = { cmdline: ['node', '/x/.bin/nodemon', 'a.js'] };
const PM2: Given = { cmdline: ['PM2 v5.3.0: God Daemon (/home/ana/.pm2)'] };
const MASTER: Given = { cmdline: ['nginx: master process nginx'], exe: '/usr/sbin/nginx' };
const WORKER: Given = { cmdline: ['nginx: worker process'], exe: '/usr/sbin/nginx' };

test('a service is stopped by systemctl', () => {
  expect(findSupervisor(lineage({}, [], { cgroup: SERVICE }))).toEqual({
    kind: 'systemd',
    name: 'web.service',
    pid: null,
    restarts: 'depends',
    stop: ['systemctl', 'stop', 'web.service'],
  });
});

test("a user's service is stopped at that user's systemd", () => {
  const ours = lineage({}, [], { cgroup: USER_SERVICE });
  expect(findSupervisor(ours)?.stop).toEqual(['systemctl', '--user', 'stop', 'shop.service']);
  const theirs = lineage({}, [], { cgroup: USER_SERVICE, otherUser: 'ana' });
  expect(findSupervisor(theirs)?.stop).toEqual([
    'systemctl',
    '--user',
    '--machine=ana@',
    'stop',
    'shop.service',
  ]);
});

test('what somebody started from a terminal within a service is not of the service', () => {
  expect(findSupervisor(lineage({}, [], { cgroup: SERVICE, hasTerminal: true }))).toBeUndefined();
});

test('the service that we are in ourselves is not to be stopped', () => {
  expect(findSupervisor(lineage({}, [], { cgroup: SERVICE, own: SERVICE }))).toBeUndefined();
});

test('a service above a master or a watcher would start them again, so it is the one', () => {
  expect(findSupervisor(lineage(WORKER, [MASTER], { cgroup: SERVICE }))?.kind).toBe('systemd');
  expect(findSupervisor(lineage({}, [SHELL, NODEMON], { cgroup: SERVICE }))?.kind).toBe('systemd');
});

test('a service above pm2 would stop its other apps too, so pm2 is the one', () => {
  expect(findSupervisor(lineage({}, [PM2], { cgroup: SERVICE }))?.kind).toBe('pm2');
});

test('of npm and nodemon, nodemon is the one, whichever started the other', () => {
  expect(findSupervisor(lineage({}, [NPM, SHELL, NODEMON]))?.name).toBe('nodemon');
  expect(findSupervisor(lineage({}, [SHELL, NODEMON, NPM]))?.name).toBe('nodemon');
});

test('npm ends with what its script runs, not with what an interactive shell or another program below runs', () => {
  const shell: Given = { cmdline: ['-bash'] };
  const wrapper: Given = { cmdline: ['node', '/x/node_modules/.bin/cross-env', 'A=1', 'node', 'server.js'] };
  expect(findSupervisor(lineage({}, [wrapper, SHELL, NPM]))?.name).toBe('npm');
  expect(findSupervisor(lineage({}, [shell, NPM]))).toBeUndefined();
  expect(findSupervisor(lineage({}, [{ cmdline: ['node', 'tests.js'] }, SHELL, NPM]))).toBeUndefined();
});

test('of npm below foreman, foreman is the one', () => {
  expect(findSupervisor(lineage({}, [SHELL, NPM, { cmdline: ['foreman: master'] }]))?.name).toBe('foreman');
});

test('of a watcher above a keeper the outer one is the one', () => {
  const keeper: Given = { cmdline: ['node', '/usr/bin/holdfast', 'run', '--', 'x'] };
  expect(findSupervisor(lineage({}, [keeper, NODEMON]))).toMatchObject({ kind: 'watcher', pid: 102 });
});

const SHOP: ContainerReport = {
  runtime: 'docker',
  id: ID,
  podUid: null,
  name: 'shop-db',
  image: 'postgres:16',
  compose: null,
  why: null,
};

test('a container is stopped by its engine, by name or by the begin of its id', () => {
  const cgroup = `/docker/${ID}`;
  const named = lineage({}, [NODEMON], { cgroup, container: SHOP });
  expect(findSupervisor(named)).toMatchObject({ kind: 'container', stop: ['docker', 'stop', 'shop-db'] });
  const nameless = lineage({}, [], { cgroup, container: { ...SHOP, name: null } });
  expect(findSupervisor(nameless)?.stop).toEqual(['docker', 'stop', '9ec39b91f3d7']);
});

test('the container that we are in ourselves is not to be stopped', () => {
  const inside = lineage({}, [NODEMON], { cgroup: `/docker/${ID}`, own: `/docker/${ID}`, container: SHOP });
  expect(findSupervisor(inside)?.kind).toBe('watcher');
});

test('a container that a service runs is stopped by that', () => {
  const cgroup = `${SERVICE}/libpod-payload-${ID}`;
  const quadlet = lineage({}, [], { cgroup, container: { ...SHOP, runtime: 'podman' } });
  expect(findSupervisor(quadlet)?.stop).toEqual(['systemctl', 'stop', 'web.service']);
});

const STOPS: readonly (readonly [Partial<ContainerReport>, readonly string[] | null, string?])[] = [
  [{ runtime: 'podman' }, ['podman', 'stop', 'web']],
  [{ runtime: 'containerd' }, ['nerdctl', 'stop', 'web']],
  [{ runtime: 'containerd', podUid: 'x' }, null],
  [{ runtime: 'cri-o', podUid: 'x' }, null],
  [{ runtime: 'kubernetes', podUid: 'x' }, null],
  [{ runtime: 'nspawn' }, ['machinectl', 'poweroff', 'web']],
  [{ runtime: 'machine' }, ['machinectl', 'poweroff', 'web']],
  [{ runtime: 'libvirt' }, ['virsh', 'shutdown', 'web']],
  [{ runtime: 'lxc' }, ['lxc-stop', '-n', 'web'], '[lxc monitor] /var/lib/lxc web'],
  [{ runtime: 'lxc' }, ['lxc', 'stop', 'web'], '[lxc monitor] /var/snap/lxd/common/lxd/containers web'],
  [{ runtime: 'lxc' }, ['incus', 'stop', 'web'], '[lxc monitor] /var/lib/incus/containers web'],
];

for (const [container, stop, monitor] of STOPS) {
  test(`a container of ${container.runtime} is stopped by ${stop?.join(' ') ?? 'nothing here'}`, () => {
    const parents = monitor === undefined ? [] : [{ cmdline: [monitor] }];
    const at = lineage({}, parents, {
      cgroup: '/machine.slice',
      container: { ...SHOP, name: 'web', ...container },
    });
    expect(findSupervisor(at)?.stop).toEqual(stop);
  });
}

const PROXY: Given = {
  cmdline: [
    ...['/usr/bin/docker-proxy', '-proto', 'tcp', '-host-ip', '0.0.0.0', '-host-port', '5432'],
    ...['-container-ip', '172.18.0.3', '-container-port', '5432', '-use-listen-fd'],
  ],
};

test("docker's proxy is stopped with its container, never by docker's service", () => {
  const cgroup = '/system.slice/docker.service';
  const known = lineage(PROXY, [], { cgroup, container: SHOP });
  expect(findSupervisor(known)).toMatchObject({ kind: 'container', stop: ['docker', 'stop', 'shop-db'] });
  const unknown = lineage(PROXY, [], { cgroup });
  expect(findSupervisor(unknown)).toMatchObject({ kind: 'container', name: '172.18.0.3:5432', stop: null });
});

const PROGRAMS: readonly (readonly [cmdline: readonly string[], name: string, args: readonly string[]])[] = [
  [['/usr/sbin/nginx', '-g', 'x'], 'nginx', ['-g', 'x']],
  [['node', '--import', 'tsx', 'a/server.ts', '80'], 'server.ts', ['80']],
  [['node', '/x/node_modules/.bin/vite', '--port', '1'], 'vite', ['--port', '1']],
  [['node', '/x/node_modules/npm/bin/npm-cli.js', 'ci'], 'npm', ['ci']],
  [['node', '/x/node_modules/@scope/tool/dist/cli.js'], 'tool', []],
  [['python3.11', '-B', '-m', 'http.server', '80'], 'http.server', ['80']],
  [['sh', '-c', 'a b'], 'sh', ['a b']],
  [['npm run dev'], 'npm', ['run', 'dev']],
  [['php-fpm: master process (/etc/php)'], 'php-fpm', ['master', 'process', '(/etc/php)']],
  [['node'], 'node', []],
  [[], '', []],
];

for (const [cmdline, name, args] of PROGRAMS) {
  test(`the program of "${cmdline.join(' ')}" is ${name || 'unknown'}`, () => {
    expect(programOf(cmdline)).toMatchObject({ name, args });
  });
}
