import { expect, test } from 'vitest';
import { pidOf } from '../support/http.js';
import { freePort, freePorts } from '../support/ports.js';
import { isAlive, listeners } from '../support/proc.js';
import { newApps, SERVER } from './apps.js';

/** Says when it is asked to end, and ends a moment later with 0. */
const POLITE = `${SERVER}
process.once('SIGTERM', () => { console.log('leaving'); setTimeout(() => { console.log('left'); process.exit(0); }, 200); });`;

test('in the foreground the output has names, and SIGTERM stops all, the last of the file first', async () => {
  const [first = 0, second = 0] = await freePorts(2);
  const apps = newApps(`
apps:
  shop: { command: ${process.execPath} server.cjs, env: { PORT: ${first} } }
  db: { command: ${process.execPath} server.cjs, env: { PORT: ${second} } }
`);
  apps.write('server.cjs', POLITE);
  const up = apps.start(['up', '--foreground']);
  await up.line(new RegExp(`^shop \\| ready at ${first}$`));
  await up.line(new RegExp(`^db {3}\\| ready at ${second}$`));
  await up.line(/^shop \| holdfast: keeps 127\.0\.0\.1:/);
  await up.line(/^db {3}\| holdfast: keeps 127\.0\.0\.1:/);
  const servers = [await pidOf(first), await pidOf(second)];
  expect((await apps.ask('status')).stdout).toMatch(/^shop: serving/m);
  up.kill('SIGTERM');
  expect(await up.end(20_000)).toEqual({ code: 0, signal: null });
  const ends = up.lines(/^(\w+) +\| (leaving|left)$/).map(([, name, what]) => `${name} ${what}`);
  expect(ends).toEqual(['db leaving', 'db left', 'shop leaving', 'shop left']);
  expect(servers.filter(isAlive)).toEqual([]);
  expect([first, second].flatMap((port) => listeners(port))).toEqual([]);
  expect(apps.stateFiles()).toEqual([]);
});

test('SIGINT stops all, and the exit code is that of a server that ended by it', async () => {
  const port = await freePort();
  const apps = newApps(
    `apps: { one: { command: [${process.execPath}, server.cjs], env: { PORT: ${port} } } }`,
  );
  apps.write('server.cjs', SERVER);
  const up = apps.start(['up', '--foreground']);
  await up.line(/^one \| holdfast: keeps/);
  up.kill('SIGINT');
  expect(await up.end(20_000)).toEqual({ code: 143, signal: null });
});

test('an app that ends with another code than 0 ends the others, and its code is the exit code', async () => {
  const port = await freePort();
  const apps = newApps(`
apps:
  good: { command: ${process.execPath} server.cjs, env: { PORT: ${port} } }
  done: { command: [${process.execPath}, -e, 'console.log("nothing to do")'] }
  bad: { command: [${process.execPath}, bad.cjs] }
`);
  apps.write('server.cjs', POLITE);
  apps.write(
    'bad.cjs',
    `process.once('SIGUSR2', () => process.exit(7)); setInterval(() => {}, 1000); console.log('pid ' + process.pid);`,
  );
  const up = apps.start(['up', '--foreground']);
  await up.line(/^good \| holdfast: keeps/);
  // One that has ended with 0 ends nobody.
  await up.line(/^done \| holdfast: pid \d+ exited with 0/);
  const [, bad] = await up.line(/^bad {2}\| pid (\d+)$/);
  expect(await pidOf(port)).toBeGreaterThan(0);
  process.kill(Number(bad), 'SIGUSR2');
  expect(await up.end(20_000)).toEqual({ code: 7, signal: null });
  expect(up.stdout).toContain('good | left\n');
  expect(listeners(port)).toEqual([]);
});

test('down stops what another up has in the foreground; up beside it is refused', async () => {
  const port = await freePort();
  const apps = newApps(
    `apps: { one: { command: [${process.execPath}, server.cjs], env: { PORT: ${port} } } }`,
  );
  apps.write('server.cjs', POLITE);
  const up = apps.start(['up', '--foreground']);
  await up.line(/^one \| holdfast: keeps/);
  const second = await apps.ask('up', '--foreground');
  expect(second.code).toBe(2);
  expect(second.stderr).toMatch(/"one" runs already \(pid \d+\); end it with holdfast down/);
  expect(await apps.ask('down')).toEqual({ code: 0, stdout: 'one: stopped\n', stderr: '' });
  expect(await up.end()).toEqual({ code: 0, signal: null });
});
