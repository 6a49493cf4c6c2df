// Makes docs/watch-light.png and docs/watch-dark.png: the page of `holdfast watch --web` with real sockets, in a network namespace of
// their own. Usage: node scripts/screenshots.js, as root, after a build; needs Debian's chromium.

import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { Agent, get } from 'node:http';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';
import { bindTo, openSocket } from '../dist/kernel/socket-calls.js';
import { pathOf } from './requirements.js';

const INSIDE = '--inside';
const project = fileURLToPath(new URL('..', import.meta.url));
const holdfast = [process.execPath, join(project, 'dist/cli/main.cjs')];
const size = { width: 1280, height: 1120 };
/** So long that the timeline has a course. */
const WATCHED_S = 75;
/** From one turn of the clients to the next. */
const EVERY_MS = 400;

/** Has connections whose peers have closed, and does not close its own ends. */
const FORGETS = `
  const server = require('node:net').createServer({ allowHalfOpen: true }, () => undefined);
  server.listen(7000, '127.0.0.1', () => console.log('listens'));`;
/** Listens, and does nothing else: connections wait in its queue. */
const BUSY = `
  require('node:net').createServer().listen({ port: 7100, host: '127.0.0.1', backlog: 16 }, () => {
    console.log('listens');
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
  });`;

if (process.argv[2] === INSIDE) await inside();
else outside();

function outside() {
  const script = `ip link set lo up && exec ${process.execPath} ${fileURLToPath(import.meta.url)} ${INSIDE}`;
  const { status } = spawnSync(
    'unshare',
    ['--net', '--pid', '--fork', '--kill-child', '--mount-proc', 'sh', '-c', script],
    { stdio: 'inherit' },
  );
  process.exitCode = status ?? 1;
}

async function inside() {
  const folder = mkdtempSync(join(tmpdir(), 'holdfast-screenshots-'));
  const env = { ...process.env, HOLDFAST_STATE_DIR: join(folder, 'state') };
  const example = join(project, 'examples/http-server.js');
  await started(
    [...holdfast, 'run', '--name', 'shop', '--workers', '2', '--standby', '--', process.execPath, example],
    /keeps/,
    { ...env, PORT: '8080' },
  );
  await started([...holdfast, 'run', '--name', 'mail', '--', process.execPath, example], /keeps/, {
    ...env,
    PORT: '8025',
  });
  await started([process.execPath, '-e', FORGETS], /listens/, env);
  await started([process.execPath, '-e', BUSY], /listens/, env);
  onlyBound(5432);
  const stop = traffic();
  const [url] = await started([...holdfast, 'watch', '--web'], /^http:\S+$/, env);
  const browser = await chromium.launch({ executablePath: pathOf('chromium'), chromiumSandbox: false });
  const tab = await browser.newPage({ viewport: size, deviceScaleFactor: 1.5, colorScheme: 'light' });
  await tab.goto(url);
  await tab.waitForSelector('[data-keeper="shop"]');
  await sleep((1_000 * WATCHED_S) / 2);
  spawnSync(holdfast[0], [holdfast[1], 'reload', 'shop'], { env });
  await sleep((1_000 * WATCHED_S) / 2);
  await tab.locator('[data-state="CLOSE_WAIT"]').click();
  for (const colorScheme of ['light', 'dark']) {
    await tab.emulateMedia({ colorScheme });
    // Drawn anew, and with transitions of another look.
    await sleep(1_500);
    await tab.screenshot({ path: join(project, `docs/watch-${colorScheme}.png`) });
  }
  await browser.close();
  stop();
  rmSync(folder, { recursive: true, force: true });
  // The namespace of pids ends with its first process, and everything in it.
  process.exit(0);
}

/** What the program's first line of that kind is. */
async function started([file, ...args], line, env) {
  const child = spawn(file, args, { env, stdio: ['ignore', 'pipe', 'pipe'] });
  return new Promise((resolve, reject) => {
    for (const stream of [child.stdout, child.stderr]) {
      createInterface(stream).on('line', (text) => {
        const found = line.exec(text);
        if (found !== null) resolve(found);
        else if (process.env.DEBUG) console.error(text);
      });
    }
    child.once('exit', (code) => reject(new Error(`${args.join(' ')} ended with ${code}`)));
  });
}

function onlyBound(port) {
  const fd = openSocket('tcp', 'ipv4');
  if (bindTo(fd, { family: 'ipv4', host: '127.0.0.1', port }) < 0) throw new Error(`${port} cannot be bound`);
}

/** Clients that come and go, and some that stay, until it is stopped. */
function traffic() {
  const kept = new Agent({ keepAlive: true, maxSockets: 12 });
  const ask = (port, agent) => get({ port, agent, host: '127.0.0.1' }, (answer) => answer.resume());
  for (let count = 0; count < 4; count++)
    connect(7000, '127.0.0.1', function connected() {
      this.end();
    });
  for (let count = 0; count < 3; count++) connect(7100, '127.0.0.1');
  let turn = 0;
  const timer = setInterval(() => {
    turn++;
    for (let count = 0; count < 12; count++) ask(8080, kept);
    // Not kept: the server closes first.
    for (let count = 0; count < Math.round(2 + 2 * Math.sin(turn / 12)); count++) ask(8080, false);
    if (turn % 4 === 0) ask(8025, false);
  }, EVERY_MS);
  return () => {
    clearInterval(timer);
    kept.destroy();
  };
}
