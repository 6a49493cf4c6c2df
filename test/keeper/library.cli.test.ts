import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { testNeeding } from '../support/needing.js';
import { freePort } from '../support/ports.js';
import { isAlive } from '../support/proc.js';
import { type Started, start } from '../support/process.js';
import { binaryOf } from '../support/requirement.js';
import { nodeHttp } from '../support/servers.js';
import { temporaryFolder } from '../support/temporary.js';

const library = fileURLToPath(new URL('../../dist/index.js', import.meta.url));

/** Runs a module that has `keep`, `command` (a server's) and `port`; what it logs are lines of its stdout. */
async function runModule(body: string, node: string = process.execPath): Promise<Started> {
  const port = await freePort();
  const head = `
    import { keep } from ${JSON.stringify(library)};
    const port = ${port};
    const command = ${JSON.stringify(nodeHttp.command(port))};
    const body = async () => (await fetch('http://127.0.0.1:' + port)).text();
  `;
  return start([node, '--input-type=module', '--eval', head + body], {
    env: { HOLDFAST_STATE_DIR: temporaryFolder() },
  });
}

test('keep() tells what happens by typed events, and stop() gives the exit code', async () => {
  const program = await runModule(`
    const told = [];
    const keeper = await keep({ command, name: 'shop', onNotice: (notice) => told.push(notice.type) });
    await new Promise((resolve) => keeper.once('held', resolve));
    const again = new Promise((resolve) => keeper.once('served-again', resolve));
    process.kill(keeper.status().worker.pid, 'SIGKILL');
    console.log('again', (await again).address);
    console.log('answer', await body());
    const { exitCode } = await keeper.stop();
    console.log('exit', exitCode, 'told', told.join(' '));
    console.log('handles', process.getActiveResourcesInfo().filter((name) => name !== 'PipeWrap').length);
  `);
  expect(await program.end(20_000)).toEqual({ code: 0, signal: null });
  expect(program.stdout).toMatch(/^again \[::\]:\d+$/m);
  expect(program.stdout).toMatch(/^answer pid \d+$/m);
  expect(program.stdout).toContain('exit 143 told started held exited started served-again stopping exited');
});

test('a release that a stop comes between is answered', async () => {
  const program = await runModule(`
    const keeper = await keep({ command, name: 'shop' });
    await new Promise((resolve) => keeper.once('held', resolve));
    const release = keeper.release();
    await keeper.stop();
    console.log('release', JSON.stringify(await release));
    process.exit();
  `);
  expect(await program.end(20_000)).toEqual({ code: 0, signal: null });
  expect(program.stdout).toContain('release {"ok":false,"goesOn":false,"why":"the keeper is stopping"}');
});

test('stop() leaves alone what the same process started by itself', async () => {
  const program = await runModule(`
    import { spawn } from 'node:child_process';
    const mine = spawn('sleep', ['60']);
    const shell = spawn('sh', ['-c', 'sleep 60 & echo $!'], { stdio: ['ignore', 'pipe', 'inherit'] });
    const orphan = await new Promise((resolve) => shell.stdout.once('data', (data) => resolve(String(data).trim())));
    const keeper = await keep({ command, name: 'shop' });
    await new Promise((resolve) => keeper.once('held', resolve));
    await keeper.stop();
    console.log('mine', mine.pid, 'orphan', orphan);
    process.exit();
  `);
  await program.end(20_000);
  const [, mine, orphan] = /mine (\d+) orphan (\d+)/.exec(program.stdout) ?? [];
  expect(isAlive(Number(mine))).toBe(true);
  expect(isAlive(Number(orphan))).toBe(true);
});

test('an aborted signal ends the server gracefully', async () => {
  const program = await runModule(`
    const abort = new AbortController();
    const keeper = await keep({ command, name: 'shop', signal: abort.signal });
    await new Promise((resolve) => keeper.once('held', resolve));
    abort.abort();
    console.log('exit', (await keeper.exited).exitCode);
  `);
  await program.end(20_000);
  expect(program.stdout).toContain('exit 143');
});

testNeeding('node24')('`await using` stops the server at the end of the block', async () => {
  const program = await runModule(
    `
    {
      await using keeper = await keep({ command, name: 'shop' });
      await new Promise((resolve) => keeper.once('held', resolve));
      console.log('answer', await body());
    }
    console.log('after', await body().catch((error) => error.cause.code));
    `,
    binaryOf('node24'),
  );
  expect(await program.end(20_000)).toEqual({ code: 0, signal: null });
  expect(program.stdout).toMatch(/^answer pid \d+$/m);
  expect(program.stdout).toContain('after ECONNREFUSED');
});

test.each([
  ['an empty command', `{ command: [] }`, 'ERR_HOLDFAST_OPTION'],
  ['a program that is not there', `{ command: ['/nonexistent/program'] }`, 'ERR_HOLDFAST_COMMAND'],
  ['a wrong name', `{ command, name: '../x' }`, 'ERR_HOLDFAST_NAME'],
  ['a wrong address', `{ command, listen: ['nowhere'] }`, 'ERR_HOLDFAST_ADDRESS'],
  ['an unknown user', `{ command, user: 'no-such-user' }`, 'ERR_HOLDFAST_USER'],
  ['a folder that is not there', `{ command, cwd: '/nonexistent' }`, 'ERR_HOLDFAST_OPTION'],
  ['a negative time', `{ command, holdForMs: -1 }`, 'ERR_HOLDFAST_OPTION'],
])('%s is refused with its code, and nothing is left behind', async (_what, options, code) => {
  const program = await runModule(`
    import { readdirSync } from 'node:fs';
    await keep(${options}).catch((error) => console.log('code', error.code));
    console.log('left', readdirSync(process.env.HOLDFAST_STATE_DIR).length);
  `);
  expect(await program.end(20_000)).toEqual({ code: 0, signal: null });
  expect(program.stdout).toContain(`code ${code}\nleft 0`);
});

test('two keepers in one process keep two servers apart', async () => {
  const other = await freePort();
  const program = await runModule(`
    const one = await keep({ command, name: 'one' });
    const two = await keep({ command: [...command.slice(0, 2), '${other}'], name: 'two' });
    const held = (keeper) => new Promise((resolve) => {
      const look = () => keeper.status().sockets[0]?.served ? resolve() : setTimeout(look, 10);
      look();
    });
    await Promise.all([held(one), held(two)]);
    await one.stop();
    console.log('two', two.status().phase, await (await fetch('http://127.0.0.1:${other}')).text());
    await two.stop();
  `);
  expect(await program.end(20_000)).toEqual({ code: 0, signal: null });
  expect(program.stdout).toMatch(/^two serving pid \d+$/m);
});
