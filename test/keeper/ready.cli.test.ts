import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { run } from '../cli/holdfast.js';
import { asNobody, holdfast, startKeeper } from '../support/keeper.js';
import { testNeeding } from '../support/needing.js';
import { freePort } from '../support/ports.js';
import { listeners } from '../support/proc.js';
import { start } from '../support/process.js';
import { binaryOf } from '../support/requirement.js';
import { temporaryFolder } from '../support/temporary.js';
import { until } from '../support/wait.js';
import { outcomeOf } from './clients.js';
import { IMPORTS, python } from './programs.js';
import { settled } from './reloads.js';

/** Servers that listen at once and are ready when the file GATE is there. */
const GATED: Readonly<Record<string, { readonly ready: string; readonly command: () => readonly string[] }>> =
  {
    'READY=1 by sd_notify': { ready: 'notify', command: () => pythonServer(true) },
    "process.send('ready')": { ready: 'ipc', command: () => nodeServer(`process.send('ready')`, 200) },
    'a status below 400': { ready: 'http:/', command: () => nodeServer('', 503) },
  };

for (const [what, { ready, command }] of Object.entries(GATED)) {
  testNeeding(ready === 'notify' ? ['python3'] : [])(
    `--ready ${ready}: until ${what} every client goes to the old server`,
    async () => {
      const [port, gate] = [await freePort(), join(temporaryFolder(), 'gate')];
      const keeper = startKeeper(command(), {
        flags: ['--ready', ready, '--drain-quiet', '200ms'],
        env: { PORT: `${port}`, GATE: gate },
      });
      await keeper.holding();
      const former = keeper.worker();
      const reload = keeper.ask('reload', keeper.name);
      await until('the candidate listens', () => listeners(port).length === 2);
      const answers = await Promise.all(Array.from({ length: 30 }, () => outcomeOf(port)));
      expect(new Set(answers)).toEqual(new Set([former]));
      expect(keeper.state().generation).toBe(1);
      writeFileSync(gate, '');
      expect((await reload).exit.code).toBe(0);
      const { worker } = await keeper.untilState('the new generation', ({ generation }) => generation === 2);
      expect(await outcomeOf(port)).toBe(worker?.pid);
      await settled(keeper);
    },
  );
}

test('--ready delay: the candidate must have listened for so long', async () => {
  const port = await freePort();
  const keeper = startKeeper(nodeServer('', 200), {
    flags: ['--ready', 'delay:700ms'],
    env: { PORT: `${port}`, GATE: '/' },
  });
  await keeper.holding();
  const began = performance.now();
  expect((await keeper.ask('reload', keeper.name)).exit.code).toBe(0);
  expect(performance.now() - began).toBeGreaterThan(700);
});

testNeeding(['python3', 'root', 'setpriv'])("another process's word counts for nothing", async () => {
  const [port, gate] = [await freePort(), join(temporaryFolder(), 'gate')];
  const keeper = startKeeper(pythonServer(false), {
    flags: ['--ready', 'notify', '--ready-timeout', '2s'],
    env: { PORT: `${port}`, GATE: gate },
  });
  const { pid } = await keeper.holding();
  const reload = keeper.ask('reload', keeper.name);
  await until('the candidate listens', () => listeners(port).length === 2);
  const path = `@holdfast/${pid}/${keeper.name}`;
  for (const command of [python(SAYS_READY, path), asNobody(python(SAYS_READY, path))]) {
    await start(command).line(/^said$/);
  }
  const { exit, stderr } = await reload;
  expect({ code: exit.code, stderr }).toMatchObject({
    code: 1,
    stderr: expect.stringMatching(/was not ready after/),
  });
});

test('a wrong --ready is told before anything is started', async () => {
  for (const ready of ['soon', 'http', 'http://host/', 'delay:', 'notify:x']) {
    const { code, stderr } = await run([...holdfast, 'run', '--ready', ready, '--', 'true']);
    expect({ code, stderr }).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('ERR_HOLDFAST_OPTION'),
    });
    expect(stderr).toContain('the forms are listen, notify, ipc, http:/path');
  }
});

/** `said`: what it does when the gate is open. Until then it answers the path / with this status, later with 200. */
function nodeServer(said: string, status: number): readonly string[] {
  const code = `
    const { existsSync } = require('node:fs');
    const isOpen = () => existsSync(process.env.GATE);
    // The first generation is ready at once.
    const first = process.env.HOLDFAST_WORKER.endsWith(':1');
    require('node:http').createServer((q, r) => {
      r.writeHead(first || isOpen() ? 200 : ${status}).end('pid ' + process.pid + '\\n');
    }).listen(process.env.PORT, '127.0.0.1');
    const look = setInterval(() => { if (first || isOpen()) { clearInterval(look); ${said} } }, 20);`;
  return [process.execPath, '-e', code];
}

function pythonServer(says: boolean): readonly string[] {
  return [binaryOf('python3'), '-c', NOTIFIES, ...(says ? ['says'] : [])];
}

const NOTIFIES: string = `${IMPORTS}, time
def notify():
    while not os.path.exists(os.environ['GATE']): time.sleep(0.02)
    path = os.environ['NOTIFY_SOCKET']
    s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    s.sendto(b'STATUS=up\\nREADY=1', path.replace('@', '\\0'))
s = socket.create_server(('127.0.0.1', int(os.environ['PORT'])))
if 'says' in sys.argv: threading.Thread(target=notify, daemon=True).start()
while True:
    c, _ = s.accept()
    c.recv(4096)
    c.sendall(b'HTTP/1.0 200 OK\\r\\n\\r\\npid %d\\n' % os.getpid())
    c.close()
`;

const SAYS_READY: string = `${IMPORTS}
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.sendto(b'READY=1', sys.argv[1].replace('@', '\\0'))
print('said', flush=True)
`;
