import { once } from 'node:events';
import { chownSync } from 'node:fs';
import { createServer } from 'node:net';
import { expect, onTestFinished, test } from 'vitest';
import type { WhyReport } from '../../src/index.js';
import { applyDelta } from '../../src/watch/apply.js';
import type { WatchSnapshot, WatchUpdate } from '../../src/watch/view.js';
import type {
  ActionResult,
  Problem,
  ScenarioAbout,
  ScenarioRun,
  WhyAnswer,
} from '../../src/watch/web/wire.js';
import { run, runHoldfast } from '../cli/holdfast.js';
import { expectNothingFailed } from '../keeper/reloads.js';
import { asNobody, holdfast, startKeeper } from '../support/keeper.js';
import { startLoad } from '../support/load.js';
import { testNeeding } from '../support/needing.js';
import { openNetns } from '../support/netns.js';
import { freePort } from '../support/ports.js';
import { start } from '../support/process.js';
import { binaryOf } from '../support/requirement.js';
import { nodeHttp } from '../support/servers.js';
import { onTerminal, shellWords } from '../support/shell.js';
import { temporaryFolder } from '../support/temporary.js';
import { type Answer, startPage, timeless } from './page-stage.js';

const QUESTIONS = [
  '/',
  '/page.js',
  '/page.css',
  '/icon.svg',
  '/api/about',
  '/api/updates',
  '/api/why?target=80',
];
const ACTIONS = [
  '/api/scenarios/S1/run',
  '/api/keepers/shop/reload',
  '/api/keepers/shop/restart',
  '/api/keepers/shop/scale',
];
const KEEPERS_OUTPUT = '/api/keepers/shop/output';

test('without a session, by another name, from another page, nothing is given but 403', async () => {
  const page = await startPage();
  const path = page.url.slice(page.url.indexOf('/?'));
  const wrong = `${path.slice(0, -1)}${path.endsWith('A') ? 'B' : 'A'}`;
  expectRefused(await page.ask(wrong));
  expectRefused(await page.ask('/?token='));
  // By a foreign name the token is not used up.
  expectRefused(await page.ask(path, { headers: { host: `evil.example:${page.port}` } }));
  const cookie = await page.enter();
  expectRefused(await page.ask(path));
  expectRefused(await page.ask(path, { headers: { cookie } }));

  const own = `http://127.0.0.1:${page.port}`;
  const session = { cookie, origin: own };
  const faults: readonly Readonly<Record<string, string>>[] = [
    {},
    { cookie: cookie.slice(0, -1) },
    { cookie: cookie.replace(/\d+=/, '1=') },
    ...[
      'evil.example',
      `evil.example:${page.port}`,
      `127.0.0.1.evil.example:${page.port}`,
      '192.0.2.1',
      '0.0.0.0',
      '',
    ].map((host) => ({ ...session, origin: `http://${host}`, host })),
    ...[
      'http://evil.example',
      'http://127.0.0.1',
      `https://127.0.0.1:${page.port}`,
      `http://localhost:${page.port}`,
      'null',
    ].map((origin) => ({ ...session, origin })),
    ...['cross-site', 'same-site'].map((site) => ({ ...session, 'sec-fetch-site': site })),
  ];
  for (const headers of faults) {
    for (const question of [...QUESTIONS, KEEPERS_OUTPUT, '/nothing', '/%ff'])
      expectRefused(await page.ask(question, { headers }));
    for (const action of ACTIONS) expectRefused(await page.ask(action, { method: 'POST', headers }));
  }
  for (const action of ACTIONS)
    expectRefused(await page.ask(action, { method: 'POST', headers: { cookie } }));
  // What changes something is no question.
  for (const action of ACTIONS) expect((await page.ask(action, { headers: session })).status).toBe(404);
  const ok = await page.ask('/api/about', { headers: session });
  expect(ok.status).toBe(200);
});

test('the address leads on to a clean one, with a cookie that no script and no other site has', async () => {
  const page = await startPage(['--port', '8080']);
  const { status, headers, text } = await page.ask(`${page.url.slice(page.url.indexOf('/?'))}`);
  expect(status).toBe(200);
  expect(text).toContain('content="0;url=/#port=8080"');
  expect(headers['set-cookie']).toEqual([
    expect.stringMatching(/^holdfast-\d+=[\w-]{43}; Path=\/; HttpOnly; SameSite=Strict$/),
  ]);
  const cookieHere = headers['set-cookie']?.[0]?.split(';')[0] ?? '';
  expect(cookieHere).toMatch(new RegExp(`^holdfast-${page.port}=`));
  // As another port of another machine leads to it: the cookie has the name of the port that the browser knows.
  for (const [host, port] of [
    [`127.0.0.1:${page.port}`, page.port],
    [`localhost:${page.port}`, page.port],
    ['127.0.0.1:9000', 9000],
    ['localhost', 80],
    ['[::1]:9000', 9000],
  ] as const) {
    const cookie = cookieHere.replace(/\d+=/, `${port}=`);
    const answer = await page.ask('/', { headers: { cookie, host } });
    expect(answer.status).toBe(200);
    expect(answer.headers).toMatchObject({
      'referrer-policy': 'no-referrer',
      'x-content-type-options': 'nosniff',
      'cache-control': 'no-store',
      'content-security-policy': expect.stringMatching(
        /^default-src 'none'; script-src 'self'; style-src 'self'; .*frame-ancestors 'none'$/,
      ),
    });
    expect(answer.headers['content-security-policy']).not.toContain('unsafe');
  }
  const elsewhere = await startPage();
  const path = elsewhere.url.slice(elsewhere.url.indexOf('/?'));
  const led = await elsewhere.ask(path, { headers: { host: 'localhost:9001' } });
  expect(led.headers['set-cookie']).toEqual([expect.stringMatching(/^holdfast-9001=/)]);
});

test('cookies of former pages are removed when there are many', async () => {
  const page = await startPage();
  const former = Array.from({ length: 11 }, (_, index) => `holdfast-${index + 1}=x`).join('; ');
  const path = page.url.slice(page.url.indexOf('/?'));
  const { headers } = await page.ask(path, { headers: { cookie: `other=1; ${former}` } });
  expect(headers['set-cookie']).toEqual([
    'holdfast-1=; Path=/; Max-Age=0',
    expect.stringMatching(/^holdfast-\d+=.*HttpOnly/),
  ]);
});

testNeeding('script')('Enter on a terminal prints another address', async () => {
  const terminal = start(onTerminal(`exec ${shellWords([...holdfast, 'watch', '--web'])}`), {
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  const [first] = await terminal.line(/http:\S+token=\S+/);
  await terminal.line(/Enter: another one/);
  terminal.child.stdin?.write('\r');
  const [second] = await terminal.line(/http:\S+token=\S+/, { after: 1 });
  expect(second).not.toBe(first);
  for (const url of [first, second]) expect((await fetch(url)).status).toBe(200);
  expect((await fetch(second)).status).toBe(403);
  terminal.child.stdin?.write('\x03');
  expect(await terminal.end()).toMatchObject({ code: 0 });
});

test('it listens on loopback alone unless it is allowed', async () => {
  const refused = await runHoldfast(['watch', '--web', '--listen', '0.0.0.0:0']);
  expect(refused).toMatchObject({ code: 2, stdout: '' });
  expect(refused.stderr).toMatch(/ssh -L .*--allow-remote.* \[ERR_HOLDFAST_OPTION\]\n$/);
  for (const flags of [
    ['--web', '--json'],
    ['--web', '--count', '1'],
    ['--listen', '8080'],
    ['--allow-remote'],
  ]) {
    expect(await runHoldfast(['watch', ...flags])).toMatchObject({ code: 2, stdout: '' });
  }
  const wrong = await runHoldfast(['watch', '--web', '--listen', 'localhost:http']);
  expect(wrong.stderr).toContain('ERR_HOLDFAST_ADDRESS');
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  const taken = await runHoldfast(['watch', '--web', '--listen', `${port}`]);
  server.close();
  expect(taken).toMatchObject({ code: 2, stdout: '' });
  expect(taken.stderr).toContain(`is held by`);
});

test('what cannot begin ends at once, with keepers that run', async () => {
  const port = await freePort();
  const keeper = startKeeper(nodeHttp.command(port), { name: 'shop' });
  await keeper.holding();
  for (const [flags, code] of [
    [['--keeper', 'nobody'], 'NOT_RUNNING'],
    [['--keeper', 'shop', '--listen', '0.0.0.0:0'], 'OPTION'],
  ] as const) {
    const ended = await runHoldfast(['watch', '--web', ...flags], { env: keeper.env });
    expect(ended).toMatchObject({
      code: 2,
      stdout: '',
      stderr: expect.stringContaining(`ERR_HOLDFAST_${code}`),
    });
  }
});

testNeeding('netns')(
  'with --allow-remote it answers at addresses of the machine, and at no foreign name',
  async () => {
    const netns = await openNetns();
    const page = await startPage(['--listen', '0.0.0.0:8080', '--allow-remote'], {
      around: (command) => netns.command(command),
    });
    const path = page.url.slice(page.url.indexOf('/?'));
    const curl = async (...args: readonly string[]): Promise<string> => {
      const { stdout } = await run(
        netns.command([binaryOf('curl'), '-s', '-o', '/dev/null', '-w', '%{http_code}', ...args]),
      );
      return stdout;
    };
    expect(await curl('-H', 'Host: evil.example', `http://127.0.0.2:8080${path}`)).toBe('403');
    expect(await curl(`http://127.0.0.2:8080/`)).toBe('403');
    expect(await curl('-H', 'Host: 192.0.2.7:8080', `http://127.0.0.2:8080${path}`)).toBe('200');
  },
);

test('the why box answers as the command does', async () => {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  const page = await startPage();
  const headers = { cookie: await page.enter() };
  for (const target of [`127.0.0.1:${port}`, `${port}`, '[::1]:1', '80']) {
    const { status, text } = await page.ask(`/api/why?target=${encodeURIComponent(target)}`, { headers });
    const command = await runHoldfast(['why', target]);
    expect(status).toBe(200);
    const answer = JSON.parse(text) as WhyAnswer;
    expect(answer.exitCode).toBe(command.code);
    expect(timeless(answer.text)).toBe(timeless(command.stdout));
    expect((answer.reports as readonly WhyReport[])[0]?.schema).toBe(1);
  }
  server.close();
  for (const [target, code] of [
    ['localhost:80', 'ADDRESS'],
    ['', 'ADDRESS'],
    ['99999', 'ADDRESS'],
  ] as const) {
    const { status, text } = await page.ask(`/api/why?target=${target}`, { headers });
    expect(status).toBe(400);
    expect(JSON.parse(text)).toMatchObject({ code: `ERR_HOLDFAST_${code}`, text: expect.any(String) });
  }
});

test('updates are a snapshot and what has changed, and a wrong filter is told', async () => {
  const page = await startPage(['--interval', '100ms']);
  const cookie = await page.enter();
  const port = await freePort();
  let snapshot: WatchSnapshot | undefined;
  let server: ReturnType<typeof createServer> | undefined;
  for await (const { name, data } of page.events(`/api/updates?port=${port}`, cookie)) {
    expect(name).toBe('update');
    const update = data as WatchUpdate;
    snapshot = update.type === 'snapshot' ? update : applyDelta(snapshot as WatchSnapshot, update);
    server ??= createServer().listen(port, '127.0.0.1');
    if (snapshot.counts.LISTEN === 1) break;
  }
  server?.close();
  expect(snapshot?.sequence).toBeGreaterThan(1);
  for (const [query, code] of [
    ['port=x', 'OPTION'],
    ['port=0', 'OPTION'],
    ['pid=4194305', 'OPTION'],
    ['keeper=nobody', 'NOT_RUNNING'],
  ] as const) {
    const { status, text } = await page.ask(`/api/updates?${query}`, { headers: { cookie } });
    expect(status).toBe(code === 'OPTION' ? 400 : 404);
    expect((JSON.parse(text) as Problem).code).toBe(`ERR_HOLDFAST_${code}`);
  }
});

testNeeding(['netns', 'root'])(
  'a scenario is played by its name, each step with the sockets of its stage',
  async () => {
    const page = await startPage();
    const cookie = await page.enter();
    const headers = { cookie, origin: `http://127.0.0.1:${page.port}` };
    const all = JSON.parse((await page.ask('/api/scenarios', { headers })).text) as readonly ScenarioAbout[];
    expect(all.length).toBeGreaterThan(80);
    const about = all.find(({ id }) => id === 'Q-b');
    expect(about).toMatchObject({
      playable: true,
      slow: false,
      rules: ['time-wait-had-no-reuseaddr', 'port-shared'],
    });
    const played = page.ask('/api/scenarios/Q-b/run', { method: 'POST', headers });
    const { status, text } = await played;
    expect(status).toBe(200);
    const result = JSON.parse(text) as ScenarioRun;
    expect(result).toMatchObject({ id: 'Q-b', agrees: true, asExpected: true });
    expect(result.cases.map(({ steps }) => steps.map(({ line }) => line))).toEqual(
      about?.cases.map(({ steps }) => steps),
    );
    const states = new Set(
      result.cases.flatMap(({ steps }) => steps.flatMap(({ sockets }) => sockets.map(({ state }) => state))),
    );
    expect(states).toEqual(
      new Set(
        ['BOUND', 'LISTEN', 'ESTABLISHED', 'CLOSE_WAIT', 'FIN_WAIT2', 'TIME_WAIT'].filter((one) =>
          states.has(one as never),
        ),
      ),
    );
    expect([...states]).toEqual(expect.arrayContaining(['BOUND', 'LISTEN', 'ESTABLISHED', 'TIME_WAIT']));
    for (const id of ['no-such', '..%2Fclaims.yaml', 'all']) {
      const answer = await page.ask(`/api/scenarios/${id}/run`, { method: 'POST', headers });
      expect(answer.status).toBe(409);
      expect((JSON.parse(answer.text) as Problem).code).toBe('ERR_HOLDFAST_SCENARIO');
    }
  },
);

testNeeding(['root', 'setpriv', 'unshare'])(
  'as an ordinary user it says what it cannot see, and plays what needs no root',
  async () => {
    const folder = temporaryFolder();
    chownSync(folder, 65534, 65534);
    // Of root.
    const server = createServer().listen(0, '127.0.0.1');
    onTestFinished(() => void server.close());
    const page = await startPage([], { around: asNobody, env: { HOLDFAST_STATE_DIR: folder } });
    const cookie = await page.enter();
    const headers = { cookie, origin: `http://127.0.0.1:${page.port}` };
    expect(JSON.parse((await page.ask('/api/about', { headers })).text)).toMatchObject({ user: 'nobody' });
    for await (const { data } of page.events('/api/updates', cookie)) {
      const { unseen } = data as WatchUpdate;
      if (unseen.sockets > 0 && unseen.processes > 0) break;
    }
    const all = JSON.parse((await page.ask('/api/scenarios', { headers })).text) as readonly ScenarioAbout[];
    const [first] = all.filter(({ playable, slow }) => playable && !slow);
    const played = await page.ask(`/api/scenarios/${first?.id}/run`, { method: 'POST', headers });
    expect(JSON.parse(played.text)).toMatchObject({ id: first?.id, agrees: true });
    const rootOnly = all.find(({ playable }) => !playable);
    const refused = await page.ask(`/api/scenarios/${rootOnly?.id}/run`, { method: 'POST', headers });
    expect(refused.status).toBe(409);
    expect(JSON.parse(refused.text)).toMatchObject({
      code: 'ERR_HOLDFAST_LAB',
      text: expect.stringContaining('needs root'),
    });
  },
);

test('keepers: output, reload, restart and scale, with no failed request', async () => {
  const port = await freePort();
  const keeper = startKeeper(nodeHttp.command(port), { name: 'shop', flags: ['--log-file'] });
  await keeper.holding();
  const page = await startPage([], { env: keeper.env });
  const cookie = await page.enter();
  const headers = { cookie, origin: `http://127.0.0.1:${page.port}`, 'content-type': 'application/json' };
  const act = async (action: string, body?: unknown): Promise<ActionResult | Problem> => {
    const { text } = await page.ask(`/api/keepers/${action}`, {
      method: 'POST',
      headers,
      body: body === undefined ? '{}' : JSON.stringify(body),
    });
    return JSON.parse(text) as ActionResult | Problem;
  };
  const load = startLoad({ host: '127.0.0.1', port, ratePerSecond: 100 });
  expect(await act('shop/reload')).toEqual({
    ok: true,
    text: expect.stringMatching(/^generation 2 has taken over after /),
  });
  await expectNothingFailed(load.stop());
  expect(await act('shop/scale', { workers: 2 })).toEqual({ ok: true, text: 'scaled to 2' });
  expect(await act('shop/restart')).toMatchObject({ ok: true });
  expect(await act('shop/scale', { workers: 0 })).toMatchObject({ code: 'ERR_HOLDFAST_OPTION' });
  expect(await act('shop/scale', {})).toMatchObject({ code: 'ERR_HOLDFAST_OPTION' });
  expect(await act('nobody/reload')).toMatchObject({ code: 'ERR_HOLDFAST_NOT_RUNNING' });
  expect(await act('..%2Fshop/reload')).toMatchObject({ code: 'ERR_HOLDFAST_NAME' });
  for await (const { name, data } of page.events('/api/keepers/shop/output', cookie)) {
    expect(name).toBe('output');
    expect(data).toContain('\n');
    break;
  }
  page.process.kill('SIGTERM');
  expect(await page.process.end()).toMatchObject({ code: 0 });
});

test('the output of a server that has no log file is told to be elsewhere', async () => {
  const port = await freePort();
  const keeper = startKeeper(nodeHttp.command(port), { name: 'shop' });
  await keeper.holding();
  const page = await startPage([], { env: keeper.env });
  const { status, text } = await page.ask(KEEPERS_OUTPUT, { headers: { cookie: await page.enter() } });
  expect(status).toBe(409);
  expect(JSON.parse(text)).toMatchObject({
    code: 'ERR_HOLDFAST_NO_LOG',
    text: expect.stringContaining('--log-file'),
  });
});

function expectRefused({ status, headers, text }: Answer): void {
  expect({ status, text, cookie: headers['set-cookie'] }).toEqual({
    status: 403,
    text: 'Open the address that holdfast watch --web has printed; it can be opened once.\n',
    cookie: undefined,
  });
}
