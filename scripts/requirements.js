// What the tests run beyond npm's packages: each binary, the Debian package that brings it, and how to get it.
// Shared by scripts/setup.js, which installs what is missing, and by the tests, which say what is missing.

import { accessSync, constants, readFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/**
 * By the name that tests use. `files`: one of them must exist too. `service`: the unit that the package would enable. `unpacked`: where
 * the binary is in its package, which is not installed.
 */
export const requirements = {
  nginx: { packages: ['nginx'], binary: 'nginx', service: 'nginx' },
  gunicorn: { packages: ['gunicorn'], binary: 'gunicorn' },
  haproxy: { packages: ['haproxy'], binary: 'haproxy', service: 'haproxy' },
  go: { packages: ['golang-go'], binary: 'go' },
  java: { packages: ['default-jdk-headless'], binary: 'javac' },
  cc: {
    packages: ['gcc', 'libc6-dev'],
    binary: 'cc',
    // The test servers are linked statically: nothing of theirs may depend on an interposed libc.
    files: [
      '/usr/lib/x86_64-linux-gnu/libc.a',
      '/usr/lib/aarch64-linux-gnu/libc.a',
      '/usr/lib64/libc.a',
      '/usr/lib/libc.a',
    ],
  },
  python3: { packages: ['python3'], binary: 'python3' },
  ip: { packages: ['iproute2'], binary: 'ip' },
  ss: { packages: ['iproute2'], binary: 'ss' },
  lsof: { packages: ['lsof'], binary: 'lsof' },
  fuser: { packages: ['psmisc'], binary: 'fuser' },
  unshare: { packages: ['util-linux'], binary: 'unshare' },
  nsenter: { packages: ['util-linux'], binary: 'nsenter' },
  setpriv: { packages: ['util-linux'], binary: 'setpriv' },
  script: { packages: ['bsdutils'], binary: 'script' },
  setcap: { packages: ['libcap2-bin'], binary: 'setcap' },
  curl: { packages: ['curl'], binary: 'curl' },
  ps: { packages: ['procps'], binary: 'ps' },
  tmux: { packages: ['tmux'], binary: 'tmux' },
  wrk: { packages: ['wrk'], binary: 'wrk' },
  start_server: { packages: ['libserver-starter-perl'], binary: 'start_server' },
  bwrap: { packages: ['bubblewrap'], binary: 'bwrap' },
  // Started in namespaces of its own; its package enables nothing where another program is process 1.
  systemctl: {
    packages: ['systemd'],
    binary: 'systemctl',
    files: ['/usr/lib/systemd/systemd', '/lib/systemd/systemd'],
  },
  sudo: { packages: ['sudo'], binary: 'sudo' },
  ssh: { packages: ['openssh-client'], binary: 'ssh' },
  sshd: { packages: ['openssh-server'], binary: 'sshd', service: 'ssh' },
  rshd: { packages: ['rsh-redone-server'], binary: 'in.rshd' },
  // Its package cannot be installed beside the one of rshd: it is only unpacked.
  netkitRshd: { packages: ['rsh-server'], binary: 'in.rshd', unpacked: 'usr/sbin/in.rshd' },
  inetd: { packages: ['openbsd-inetd'], binary: 'inetd', service: 'openbsd-inetd' },
  chromium: { packages: ['chromium'], binary: 'chromium' },
  ansible: { packages: ['ansible-core'], binary: 'ansible-playbook' },
  pdsh: { packages: ['pdsh'], binary: 'pdsh' },
  clush: { packages: ['clustershell'], binary: 'clush' },
  'parallel-ssh': { packages: ['pssh'], binary: 'parallel-ssh' },
  bash: { packages: ['bash'], binary: 'bash' },
  zsh: { packages: ['zsh'], binary: 'zsh' },
  fish: { packages: ['fish'], binary: 'fish' },
};

/** The other Node versions that the tests run, as npm aliases of the packages that hold the binaries. */
export const nodeVersions = { node22: '22.23.3', node24: '24.21.0' };

const unpackedFolder = fileURLToPath(new URL('../.cache/unpacked/', import.meta.url));

export const nodesFolder = fileURLToPath(new URL('../.cache/nodes/', import.meta.url));

// The system's own folders come first: a pyenv or nvm shim is a different program, and a user's PATH
// often lacks the sbin folders.
const folders = ['/usr/bin', '/usr/sbin', '/bin', '/sbin', ...(process.env.PATH ?? '').split(delimiter)];

/** The absolute path of a requirement's binary, or undefined when any part of the requirement is missing. */
export function pathOf(name) {
  const { binary, files, unpacked } = requirements[name];
  if (unpacked !== undefined) return [join(unpackedFolder, unpacked)].find(canExecute);
  if (files !== undefined && !files.some((file) => canRead(file))) return undefined;
  return folders
    .filter((folder) => folder.startsWith('/'))
    .map((folder) => join(folder, binary))
    .find(canExecute);
}

/** The names among `names` (default: all) whose requirement is not met on this machine. */
export function missing(names = Object.keys(requirements)) {
  return names.filter((name) => pathOf(name) === undefined);
}

/** The Debian packages that bring the named requirements, each once, in the order of the table. */
export function packagesOf(names) {
  return packages(names.filter((name) => requirements[name].unpacked === undefined));
}

function packages(names) {
  return [...new Set(names.flatMap((name) => requirements[name].packages))];
}

/** The one line that installs the named requirements. */
export function installLine(names) {
  const installed = packagesOf(names);
  const line = `sudo apt-get install --no-install-recommends ${installed.join(' ')}`;
  return [...(installed.length > 0 ? [line] : []), unpackLine(names, '.cache/unpacked')]
    .filter((part) => part !== undefined)
    .join('; ');
}

/** The one line that unpacks those of the named requirements whose packages are not installed; undefined when there are none. */
export function unpackLine(names, folder = unpackedFolder) {
  const all = packages(names.filter((name) => requirements[name].unpacked !== undefined));
  if (all.length === 0) return undefined;
  const each = all.map((name) => `dpkg -x ${name}_*.deb .`);
  return `(mkdir -p ${folder} && cd ${folder} && apt-get download ${all.join(' ')} && ${each.join(' && ')})`;
}

/** The absolute path of node22 or node24, or undefined when exactly that version is not installed. */
export function nodePathOf(name) {
  const folder = join(nodesFolder, 'node_modules', name);
  try {
    const { version } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'));
    const binary = join(folder, 'bin/node');
    return version === nodeVersions[name] && canExecute(binary) ? binary : undefined;
  } catch {
    return undefined; // not installed, or only half of it
  }
}

/** The names of the Node versions that are not installed. */
export function missingNodes() {
  return Object.keys(nodeVersions).filter((name) => nodePathOf(name) === undefined);
}

/** The arguments of the npm that installs every Node version. */
export function npmArguments(folder = nodesFolder) {
  const aliases = Object.entries(nodeVersions).map(
    ([name, version]) => `${name}@npm:node-linux-${process.arch}@${version}`,
  );
  return [
    'install',
    '--prefix',
    folder,
    '--no-save',
    '--no-package-lock',
    '--no-audit',
    '--no-fund',
    ...aliases,
  ];
}

/** The one line that installs the Node versions, from the project's folder. */
export function nodesLine() {
  return `npm ${npmArguments('.cache/nodes').join(' ')}`;
}

function canExecute(file) {
  return canAccess(file, constants.X_OK);
}

function canRead(file) {
  return canAccess(file, constants.R_OK);
}

function canAccess(file, mode) {
  try {
    accessSync(file, mode);
    return true;
  } catch {
    return false; // ENOENT or EACCES: for us it is not there
  }
}
