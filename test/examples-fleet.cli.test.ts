import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { expect, test } from 'vitest';
import { parseAllDocuments } from 'yaml';
import { commandFolder, type Ended, project, run } from './cli/holdfast.js';
import { startKeeper } from './support/keeper.js';
import { testNeeding } from './support/needing.js';
import { freePort } from './support/ports.js';
import { binaryOf } from './support/requirement.js';
import { temporaryFolder } from './support/temporary.js';

const MANIFESTS = [
  'examples/kubernetes/shop.yaml',
  'examples/kubernetes/machines.yaml',
  'examples/lab-fuzz-job.yaml',
];
const PLAYBOOKS = ['why', 'reload'].map((name) => join(project, `examples/ansible/${name}.yml`));

interface Resource {
  readonly apiVersion: string;
  readonly kind: string;
}

// kubectl checks nothing without a cluster, whose API server has the schemas. These types are made of the same ones, and an
// object literal may have no property that its type has not.
test('the manifests are what the types of Kubernetes say', async () => {
  const documents = MANIFESTS.flatMap((file) => documentsOf(file));
  expect(documents.flatMap(({ errors, warnings }) => [...errors, ...warnings])).toEqual([]);
  const resources = documents.map((document) => document.toJS() as Resource);
  expect(resources).toHaveLength(5);
  expect(await compiled(resources)).toEqual({ code: 0, stdout: '', stderr: '' });
});

test('a manifest with a wrong word or a wrong value is found', async () => {
  const [first] = documentsOf('examples/kubernetes/shop.yaml');
  const text = JSON.stringify(first?.toJS());
  const misspelled = JSON.parse(text.replace('"maxUnavailable"', '"maxUnavailabel"')) as Resource;
  const wrong = JSON.parse(text.replace('"replicas":2', '"replicas":"two"')) as Resource;
  const { stdout } = await compiled([misspelled, wrong]);
  expect(stdout).toMatch(/maxUnavailabel.* does not exist/);
  expect(stdout).toMatch(/Type 'string' is not assignable to type 'number'/);
});

testNeeding('ansible')('the playbooks pass the syntax check of Ansible', async () => {
  for (const playbook of PLAYBOOKS) {
    const { code, stderr } = await ansible(['--syntax-check', '-i', 'web,', playbook]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  }
});

testNeeding('ansible')(
  'the playbooks do what they say: a machine whose reload fails leaves the next ones alone',
  async () => {
    const machines = await Promise.all(['web1', 'web2', 'web3'].map(openMachine));
    const inventory = join(temporaryFolder(), 'inventory.json');
    const hosts = machines.map(({ name, keeper }) => [
      name,
      {
        ansible_connection: 'local',
        ansible_python_interpreter: '/usr/bin/python3',
        holdfast_environment: keeper.env,
      },
    ]);
    writeFileSync(inventory, JSON.stringify({ web: { hosts: Object.fromEntries(hosts) } }));
    machines[1]?.write('process.exit(3);');
    const port = ['-e', `wanted_port=${machines[0]?.port}`];
    const { code, stdout } = await ansible(['-i', inventory, ...port, ...PLAYBOOKS]);
    expect(stdout.split(`Port ${machines[0]?.port} is held by the keeper`)).toHaveLength(4);
    expect(stdout).toContain('exited with 3 before it was ready');
    expect(code).toBe(2);
    expect(machines.map(({ keeper }) => keeper.state().generation)).toEqual([2, 1, 1]);
  },
);

function documentsOf(file: string) {
  return parseAllDocuments(readFileSync(join(project, file), 'utf8'));
}

/** One that is this one, with a keeper and its state of its own. */
async function openMachine(name: string) {
  const port = await freePort();
  const file = join(temporaryFolder(), 'server.cjs');
  const write = (code: string): void => writeFileSync(file, code);
  write(`require('node:http').createServer((_, response) => response.end()).listen(${port});`);
  const keeper = startKeeper([process.execPath, file], { name: 'shop' });
  await keeper.holding();
  return { name, port, write, keeper };
}

/** Ansible, with folders of its own and `holdfast` in its PATH. */
function ansible(args: readonly string[]): Promise<Ended> {
  const home = temporaryFolder();
  const config = join(home, 'ansible.cfg');
  writeFileSync(config, '');
  const env = {
    ...{ HOME: home, ANSIBLE_LOCAL_TEMP: home, ANSIBLE_REMOTE_TEMP: home, ANSIBLE_CONFIG: config },
    ...{ ANSIBLE_NOCOLOR: '1', LC_ALL: 'C.UTF-8', PATH: `${commandFolder()}${delimiter}${process.env.PATH}` },
  };
  return run([binaryOf('ansible'), ...args], { env, timeoutMs: 80_000 });
}

async function compiled(resources: readonly Resource[]): Promise<Ended> {
  const folder = temporaryFolder();
  mkdirSync(join(folder, 'node_modules'));
  symlinkSync(join(project, 'node_modules/kubernetes-types'), join(folder, 'node_modules/kubernetes-types'));
  const lines = resources.map((resource, index) => {
    const { apiVersion, kind } = resource;
    const module = apiVersion.includes('/') ? apiVersion : `core/${apiVersion}`;
    return `export const r${index}: import('kubernetes-types/${module}').${kind} = ${JSON.stringify(resource)};`;
  });
  writeFileSync(join(folder, 'manifest.ts'), lines.join('\n'));
  const flags = [
    '--noEmit',
    '--strict',
    '--module',
    'esnext',
    '--moduleResolution',
    'bundler',
    '--types',
    '',
  ];
  return run([join(project, 'node_modules/.bin/tsc'), ...flags, 'manifest.ts'], { cwd: folder });
}
