// Installs what the tests need beyond npm's packages, only what is missing, and only where that is allowed:
// Debian packages as root on Debian or Ubuntu, other Node versions in .cache/nodes. Starts and enables no service.
// Where it may not install, it prints the line to run and exits 0; the tests that need the rest fail with that line.

import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { constants } from 'node:os';
import {
  installLine,
  missing,
  missingNodes,
  nodesFolder,
  nodesLine,
  npmArguments,
  packagesOf,
  requirements,
  unpackLine,
} from './requirements.js';

/** Debian asks this program before a package's script starts a service; 101 means: not allowed. */
const policy = '/usr/sbin/policy-rc.d';
const savedPolicy = `${policy}.before-holdfast`;
const ourPolicy = '#!/bin/sh\n# Written by holdfast/scripts/setup.js while it installs packages.\nexit 101\n';

const forbidden = process.env.HOLDFAST_SETUP === '0';

// A signal ends the program that runs, then us: apt-get stops a download at once but lets dpkg finish.
let running;
let interruption;
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
  process.on(signal, () => {
    interruption = signal;
    running?.kill('SIGINT');
  });
}

await main();

async function main() {
  if (process.platform !== 'linux') return;
  try {
    if (missing().length > 0) await setUpPackages();
    if (missingNodes().length > 0) await setUpNodes();
  } catch (error) {
    if (interruption === undefined) throw error;
    process.exitCode = 128 + constants.signals[interruption];
  }
}

async function setUpPackages() {
  if (forbidden || process.getuid() !== 0 || !existsSync('/usr/bin/apt-get'))
    return advise(installLine(missing()));
  const release = await lock();
  try {
    await withoutServices(installMissing);
  } finally {
    release();
  }
  if (missing().length > 0) advise(installLine(missing()));
}

async function setUpNodes() {
  if (forbidden) return advise(nodesLine());
  say(`installing ${missingNodes().join(', ')} in .cache/nodes`);
  mkdirSync(nodesFolder, { recursive: true });
  await run('npm', npmArguments());
  if (missingNodes().length > 0) advise(nodesLine());
}

async function installMissing() {
  const names = missing(); // asked again: another setup may have held the lock and done it
  if (names.length === 0) return;
  await apt('update');
  const unpack = unpackLine(names);
  if (unpack !== undefined) {
    say(`unpacking, ${unpack}`);
    await run('/bin/sh', ['-c', unpack]);
  }
  const installed = names.filter((name) => requirements[name].unpacked === undefined);
  if (installed.length === 0) return;
  say(`installing ${packagesOf(installed).join(' ')}`);
  // One package that this release does not have would keep back all the others, so then each is tried alone.
  if (!(await install(installed))) for (const name of installed) await install([name]);
}

async function install(names) {
  const installed = await apt(
    'install',
    '-y',
    '--no-install-recommends',
    '--no-remove',
    ...packagesOf(names),
  );
  for (const name of names) if (requirements[name].service) await disable(name);
  return installed;
}

/** The package's script enabled its service for the next boot of this machine; nobody asked for that. */
async function disable(name) {
  const { service } = requirements[name];
  if (existsSync(`/etc/init.d/${service}`)) await run('/usr/sbin/update-rc.d', [service, 'disable']);
}

function apt(...args) {
  return run('/usr/bin/apt-get', ['-qq', '-o', 'Dpkg::Use-Pty=0', '-o', 'DPkg::Lock::Timeout=300', ...args]);
}

/**
 * Runs a program to its end, quietly: its output is shown when it fails. Gives whether it exited with 0.
 * It gets a session of its own, so that a terminal's Ctrl-C does not stop dpkg half way.
 */
async function run(program, args) {
  if (interruption !== undefined) throw new Error(interruption);
  running = spawn(program, args, {
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
  });
  let output = '';
  running.stdout.on('data', (text) => (output += text));
  running.stderr.on('data', (text) => (output += text));
  const status = await new Promise((resolve) => {
    running.once('error', (error) => resolve(error.message));
    running.once('close', (code, signal) => resolve(code ?? signal));
  });
  running = undefined;
  if (interruption !== undefined) throw new Error(interruption);
  if (status !== 0) say(`${program} ${args.join(' ')}: ${status}\n${output.slice(-4000)}`);
  return status === 0;
}

/** Runs `work` while no package may start a service, and puts back what was there before, however it ends. */
async function withoutServices(work) {
  restorePolicy(); // of a setup that was killed
  if (existsSync(policy)) renameSync(policy, savedPolicy);
  try {
    writeFileSync(policy, ourPolicy, { mode: 0o755 });
    await work();
  } finally {
    restorePolicy();
  }
}

function restorePolicy() {
  if (existsSync(savedPolicy)) renameSync(savedPolicy, policy);
  else if (existsSync(policy) && readFileSync(policy, 'utf8') === ourPolicy) rmSync(policy);
}

/** One setup at a time on this machine: an abstract unix socket, which the kernel frees when its owner dies. */
async function lock() {
  for (;;) {
    const server = createServer();
    const taken = await new Promise((resolve, reject) => {
      server.once('error', (error) => (error.code === 'EADDRINUSE' ? resolve(false) : reject(error)));
      server.listen('\0holdfast-setup', () => resolve(true));
    });
    if (taken) return () => server.close();
    if (interruption !== undefined) throw new Error(interruption);
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}

function advise(line) {
  say(`some tests need more than is installed here; run: ${line}`);
}

function say(text) {
  process.stderr.write(`setup: ${text}\n`);
}
