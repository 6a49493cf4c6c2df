import { chmodSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, onTestFinished } from 'vitest';
import { type Ended, run } from '../cli/holdfast.js';
import { holdfast } from '../support/keeper.js';
import { testNeeding } from '../support/needing.js';
import { type Netns, openNetns } from '../support/netns.js';
import { temporaryFolder } from '../support/temporary.js';

const RUNS = Number(process.env.HOLDFAST_TEST_PORT_RUNS ?? 12);
const RANGE = '20000 20199';

async function netns(): Promise<Netns> {
  const opened = await openNetns({ sysctls: { 'net.ipv4.ip_local_port_range': RANGE } });
  onTestFinished(() => opened.close());
  return opened;
}

function port(where: Netns, ...args: string[]): Promise<Ended> {
  return run(where.command([...holdfast, 'port', ...args]));
}

/** Binds as a server that sets SO_REUSEADDR or does not, and listens. */
const BIND = `
import socket, sys
s = socket.socket()
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, int(sys.argv[2]))
try:
  s.bind((sys.argv[3], int(sys.argv[1])))
  s.listen()
  print('listens')
except OSError as error:
  print(error.errno)
`;

testNeeding(['netns', 'python3'])(
  'a printed port is nobody’s for a minute but of who sets SO_REUSEADDR',
  async () => {
    const where = await netns();
    const { code, stdout, stderr } = await port(where);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(stdout).toMatch(/^20[01]\d\d\n$/);
    const bind = (reuse: string, host: string): Promise<Ended> =>
      run(where.command(['python3', '-c', BIND, stdout.trim(), reuse, host]));
    const [bare, everywhere, owner] = [
      await bind('0', '127.0.0.1'),
      await bind('0', '0.0.0.0'),
      await bind('1', '0.0.0.0'),
    ];
    expect([bare.stdout, everywhere.stdout, owner.stdout]).toEqual(['98\n', '98\n', 'listens\n']);
  },
);

testNeeding('netns')('several ports are a line each, or JSON that says for how long', async () => {
  const where = await netns();
  const lines = await port(where, '-n', '3', '--range', '20010-20012');
  expect(lines.stdout.trim().split('\n').toSorted()).toEqual(['20010', '20011', '20012']);
  const json = JSON.parse((await port(where, '-n', '2', '--host', '127.0.0.1', '--json')).stdout);
  expect(json).toEqual({ ports: [expect.any(Number), expect.any(Number)], reservedMs: expect.any(Number) });
  expect(json.reservedMs).toBeGreaterThan(55_000);
  expect(json.reservedMs).toBeLessThanOrEqual(60_000);
  const none = await port(where, '--range', '20010-20012');
  expect(none).toMatchObject({ code: 2, stdout: '' });
  expect(none.stderr).toMatch(/no port is free in 20010-20012: \d+ TIME_WAIT.*\[ERR_HOLDFAST_NO_PORT\]\n$/);
});

testNeeding('netns')(
  'a command gets numbers, holds the ports while it runs, and is what holdfast was',
  async () => {
    const where = await netns();
    const script = 'echo $PORT $PORT1 $PORT2 $PORTS {port} {port2}; grep SigIgn /proc/self/status; exit 7';
    const { code, stdout } = await port(where, '-n', '2', '--', 'sh', '-c', script);
    const [numbers = '', ignored] = stdout.trim().split('\n');
    const [first, one, two, ...rest] = numbers.split(' ');
    expect([code, first, rest]).toEqual([7, one, [one, two, one, two]]);
    expect(ignored).toMatch(/0{16}$/);
  },
);

testNeeding(['netns', 'python3'])(
  'while the command runs nobody else reserves its port, and it listens there',
  async () => {
    const where = await netns();
    const server = `
import http.server, os, subprocess, sys
server = http.server.HTTPServer(('', int(os.environ['WEB'])), http.server.SimpleHTTPRequestHandler)
other = subprocess.run([*sys.argv[1:], 'port', '--range', os.environ['WEB']], capture_output=True, text=True)
print(other.returncode, 'NO_PORT' in other.stderr)
`;
    const { stdout, stderr } = await port(where, '--env', 'WEB', '--', 'python3', '-c', server, ...holdfast);
    expect({ stdout, stderr }).toEqual({ stdout: '2 True\n', stderr: '' });
  },
);

testNeeding(['netns', 'python3'])(
  `${RUNS} commands at once are handed sockets that listen already, as systemd does it`,
  async () => {
    const where = await netns();
    // The socket is used as it is: without SO_REUSEADDR, bind or listen.
    const server = `
import os, socket, sys
assert os.environ['LISTEN_PID'] == str(os.getpid()) and os.environ['LISTEN_FDS'] == '1' and sys.argv[1] == '3'
listener = socket.socket(fileno=3)
client = socket.create_connection(('127.0.0.1', int(os.environ['PORT'])))
accepted, _ = listener.accept()
accepted.sendall(str(listener.getsockname()[1]).encode())
print(os.environ['PORT'], client.recv(100).decode())
`;
    const ended = await Promise.all(
      Array.from({ length: RUNS }, () => port(where, '--listen', '--', 'python3', '-c', server, '{fd}')),
    );
    expect(ended.map(({ stderr }) => stderr).join('')).toBe('');
    for (const { stdout } of ended) expect(stdout).toMatch(/^(\d+) \1\n$/);
    expect(new Set(ended.map(({ stdout }) => stdout)).size).toBeGreaterThan(1);
  },
  60_000 + RUNS * 1_000,
);

testNeeding('netns')(
  'what cannot be is said, with the exit code of shells where a command is meant',
  async () => {
    const where = await netns();
    const folder = temporaryFolder();
    const text = join(folder, 'text');
    writeFileSync(text, 'no program');
    const script = join(folder, 'script');
    writeFileSync(script, 'echo as a shell would');
    chmodSync(script, 0o755);
    const failures = await Promise.all(
      [
        ['--range', '0-5'],
        ['--range', 'x'],
        ['-n', '0'],
        ['--host', '10.1.2.3'],
        ['--listen'],
        ['--json', '--', 'true'],
        ['--', 'echo', '{port2}'],
        ['--', 'echo', '{fd}'],
        ['--', 'no-such-program'],
        ['--', text],
        ['--', script],
      ].map((args) => port(where, ...args)),
    );
    expect(failures.map(({ code, stdout, stderr }) => [code, `${stdout}${stderr}`])).toEqual([
      [2, expect.stringContaining('a port is a whole number from 1 to 65535')],
      [2, expect.stringContaining('write it as 20000-20999')],
      [2, expect.stringContaining('is no whole number from 1')],
      [2, expect.stringContaining('no interface of this machine has 10.1.2.3')],
      [2, expect.stringContaining('--listen hands a socket to a command')],
      [2, expect.stringContaining('--json prints ports')],
      [2, expect.stringContaining('{port2}: there are 1 ports')],
      [2, expect.stringContaining('{fd} needs --listen')],
      [127, expect.stringContaining('there is no program "no-such-program"')],
      [126, expect.stringContaining('is not executable')],
      [0, 'as a shell would\n'],
    ]);
  },
);
