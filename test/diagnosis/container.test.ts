import { chmodSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, expect, test, vi } from 'vitest';
import { describeContainer, publishedPort, publisherOf } from '../../src/diagnosis/container.js';
import { findSocketUnit, socketUnitFor } from '../../src/diagnosis/socket-unit.js';
import { temporaryFolder } from '../support/temporary.js';

const LABELS = {
  'com.docker.compose.project': 'shop',
  'com.docker.compose.service': 'db',
  'com.docker.compose.project.config_files': '/shop/compose.yml,/shop/compose.override.yml',
};
const COMPOSE = {
  project: 'shop',
  service: 'db',
  files: ['/shop/compose.yml', '/shop/compose.override.yml'],
};

afterEach(() => void vi.unstubAllEnvs());

let ids = 0;

/** Answers are kept by id, so each test has another one. */
function freshId(): string {
  return `${++ids}`.padStart(64, '0');
}

/** The only program on PATH. Its text may use `$*` and `$DOCKER_HOST`. */
function onlyTool(name: string, script: string): void {
  const folder = temporaryFolder();
  const file = join(folder, name);
  writeFileSync(file, `#!/bin/sh\n${script}\n`);
  chmodSync(file, 0o755);
  vi.stubEnv('PATH', folder);
}

function answer(...fields: readonly unknown[]): string {
  return `echo '${JSON.stringify(fields)}'`;
}

test("docker's client tells name, image and compose, asked once", () => {
  const id = freshId();
  onlyTool('docker', answer('/shop-db', 'postgres:16', LABELS));
  const told = { runtime: 'docker', id, podUid: null, name: 'shop-db', image: 'postgres:16', why: null };
  expect(describeContainer({ runtime: 'docker', id })).toEqual({ ...told, compose: COMPOSE });
  onlyTool('docker', 'exit 1');
  expect(describeContainer({ runtime: 'docker', id }).name).toBe('shop-db');
});

test("podman's client tells the same, also of its own compose", () => {
  const id = freshId();
  onlyTool('podman', answer('web', 'nginx', { 'io.podman.compose.project': 'site' }));
  expect(describeContainer({ runtime: 'podman', id })).toMatchObject({
    name: 'web',
    compose: { project: 'site', service: null, files: [] },
  });
});

test('the daemon of this machine is asked, whatever the user has set', () => {
  vi.stubEnv('DOCKER_HOST', 'tcp://192.0.2.1:2375');
  onlyTool('docker', `echo "[\\"$DOCKER_HOST\\"]"`);
  expect(describeContainer({ runtime: 'docker', id: freshId() }).name).toBe('unix:///var/run/docker.sock');
  expect(describeContainer({ runtime: 'docker', id: freshId() }, 1000).name).toBe(
    'unix:///run/user/1000/docker.sock',
  );
});

const FAILURES: readonly (readonly [fact: string, script: string, why: string])[] = [
  ['fails', 'echo "Cannot connect" >&2; exit 1', 'docker: Cannot connect'],
  ['fails without a word', 'exit 3', 'docker: ended with 3'],
  ['says something else', 'echo hello', 'the answer was not understood'],
  ['hangs', 'while :; do :; done', 'docker did not answer within 300 ms'],
];

for (const [fact, script, why] of FAILURES) {
  test(`a client that ${fact} leaves nulls and the reason`, () => {
    onlyTool('docker', script);
    const id = freshId();
    expect(describeContainer({ runtime: 'docker', id })).toEqual({
      ...{ runtime: 'docker', id, podUid: null, name: null, image: null, compose: null },
      why,
    });
  });
}

test('a client that is not installed leaves nulls and the reason', () => {
  vi.stubEnv('PATH', temporaryFolder());
  const { name, why } = describeContainer({ runtime: 'podman', id: freshId() });
  expect({ name, why }).toEqual({ name: null, why: 'podman is not installed' });
});

test('of Kubernetes and of machines nobody is asked', () => {
  onlyTool('docker', answer('wrong'));
  expect(describeContainer({ runtime: 'docker', id: freshId(), podUid: 'pod' }).name).toBeNull();
  expect(describeContainer({ runtime: 'kubernetes', id: freshId(), podUid: 'pod' }).name).toBeNull();
  expect(describeContainer({ runtime: 'lxc', id: 'web' })).toMatchObject({ name: 'web', why: null });
});

test('the container that publishes a port is told when it is one', () => {
  const id = freshId();
  const line = answer(id, 'shop-db', 'postgres:16', 'shop', 'db', '/shop/compose.yml');
  onlyTool('docker', `case "$*" in *publish=5432/tcp*) ${line};; esac`);
  expect(publisherOf('tcp', 5432)).toMatchObject({
    ...{ runtime: 'docker', id, name: 'shop-db', image: 'postgres:16' },
    compose: { project: 'shop', service: 'db', files: ['/shop/compose.yml'] },
  });
  expect(publisherOf('tcp', 5433)).toBeUndefined();
  onlyTool('docker', `${line}; ${line}`);
  expect(publisherOf('tcp', 5432)).toBeUndefined();
});

test("docker's proxy tells what it forwards, no other program does", () => {
  const line = '-proto tcp -host-ip :: -host-port 5432 -container-ip 172.18.0.3 -container-port 5433';
  expect(publishedPort(['/usr/libexec/docker/docker-proxy', ...line.split(' '), '-use-listen-fd'])).toEqual({
    ...{ protocol: 'tcp', hostIp: '::', hostPort: 5432, containerIp: '172.18.0.3', containerPort: 5433 },
  });
  expect(publishedPort(['proxy', ...line.split(' ')])).toBeUndefined();
  expect(publishedPort([])).toBeUndefined();
});

const LIST = `
/run/cups/cups.sock Stream     cups.socket                cups.service
127.0.0.1:631       Stream     cups.socket                cups.service
[::]:22             Stream     ssh.socket                 ssh.service
[::]:69             Datagram   tftp.socket                tftp.service
[fe80::1]:80%lo     Stream     web.socket                 web.service
kobject-uevent 1    Netlink    systemd-udevd-kernel.socket systemd-udevd.service
`;

test('for whom systemd listens is told by its list', () => {
  expect(findSocketUnit(LIST, 'tcp', 631)).toEqual({ unit: 'cups.socket', activates: 'cups.service' });
  expect(findSocketUnit(LIST, 'tcp', 22)?.unit).toBe('ssh.socket');
  expect(findSocketUnit(LIST, 'tcp', 80)?.unit).toBe('web.socket');
  expect(findSocketUnit(LIST, 'udp', 69)?.unit).toBe('tftp.socket');
  expect(findSocketUnit(LIST, 'tcp', 69)).toBeUndefined();
  expect(findSocketUnit(LIST, 'tcp', 2)).toBeUndefined();
});

test('the systemd of the user is asked when it is the one that listens', () => {
  onlyTool('systemctl', `case "$1" in --user) echo '[::]:80 Stream mine.socket mine.service';; esac`);
  expect(socketUnitFor('tcp', 80, true)?.unit).toBe('mine.socket');
  expect(socketUnitFor('tcp', 80, false)).toBeUndefined();
  vi.stubEnv('PATH', temporaryFolder());
  expect(socketUnitFor('tcp', 80, true)).toBeUndefined();
});
