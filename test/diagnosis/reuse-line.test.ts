import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import {
  COMMON_LANGUAGES,
  type Language,
  reuseAddressLine,
  reuseLines,
} from '../../src/diagnosis/reuse-line.js';
import { close } from '../../src/kernel/fd.js';
import { copyFdFrom } from '../../src/kernel/pidfd.js';
import { fdsOfSocket } from '../../src/kernel/procfs.js';
import { reusesAddress } from '../../src/kernel/socket.js';
import { testNeeding } from '../support/needing.js';
import { freePort } from '../support/ports.js';
import { start } from '../support/process.js';
import { binaryOf } from '../support/requirement.js';
import { goHttp, javaHttp, nodeHttp, pythonHttp, staticHttp } from '../support/servers.js';
import { temporaryFolder } from '../support/temporary.js';

const CASES: readonly (readonly [exe: string | null, cmdline: readonly string[], Language | null])[] = [
  ['/usr/bin/python3.11', ['python3', 'server.py'], 'Python'],
  ['/usr/bin/python3.11 (deleted)', ['gunicorn: master [app]'], 'Python'],
  [null, ['gunicorn: master [app]'], 'Python'],
  ['/usr/bin/node', ['next-server (v14)'], 'Node'],
  [null, ['/usr/bin/node', 'server.js'], 'Node'],
  ['/usr/lib/jvm/java-17/bin/java', ['java', '-jar', 'a.jar'], 'Java'],
  ['/usr/bin/ruby3.1', ['puma 6.0 (tcp://0.0.0.0:3000) [shop]'], 'Ruby'],
  ['/usr/sbin/php-fpm8.2', ['php-fpm: master process (/etc/php)'], 'PHP'],
  ['/usr/bin/perl', ['perl', 'a.pl'], 'Perl'],
  ['/tmp/go-build123/b001/exe/main', ['/tmp/go-build123/b001/exe/main'], 'Go'],
  ['/home/ana/shop/target/release/shop', ['target/release/shop'], 'Rust'],
  ['/home/ana/shop/target/x86_64-unknown-linux-musl/debug/shop', ['shop'], 'Rust'],
  ['/usr/local/bin/shop', ['shop'], null],
  [null, [], null],
];

for (const [exe, cmdline, language] of CASES) {
  test(`${exe ?? 'an unseen program'} with "${cmdline.join(' ')}" is ${language ?? 'of an unknown language'}`, () => {
    const told = reuseAddressLine({ exe, cmdline });
    expect(told.language).toBe(language);
    expect(told).toEqual(
      language === null ? expect.objectContaining({ byDefault: false }) : reuseLines[language],
    );
  });
}

test('every language has a line, the common ones are six of them', () => {
  for (const [name, { language, line }] of Object.entries(reuseLines)) {
    expect(language).toBe(name);
    expect(line).not.toBe('');
  }
  expect(COMMON_LANGUAGES).toEqual(['C', 'Python', 'Go', 'Java', 'Rust', 'Node']);
});

/** Whether the listener of this program has SO_REUSEADDR. */
async function sets(command: readonly string[], port: number): Promise<boolean> {
  const server = start(command);
  const [socket] = await server.listening(port, 20_000);
  const fd = fdsOfSocket(server.pid, socket?.inode ?? 0)[0] ?? -1;
  const copy = copyFdFrom(server.pid, fd);
  try {
    return reusesAddress(copy);
  } finally {
    close(copy);
  }
}

const SERVERS = [
  [nodeHttp, reuseLines.Node.byDefault],
  [goHttp, reuseLines.Go.byDefault],
  [javaHttp, reuseLines.Java.byDefault],
  [staticHttp, reuseLines.C.byDefault],
  [pythonHttp, true], // http.server, of which the note speaks
] as const;

for (const [{ name, needs, command }, byDefault] of SERVERS) {
  testNeeding(needs)(`${name} ${byDefault ? 'sets' : 'does not set'} SO_REUSEADDR by itself`, async () => {
    const port = await freePort();
    expect(await sets(command(port), port)).toBe(byDefault);
  });
}

/** What the notes say of Python. `LINE` is our line, `PORT` the port. */
const PYTHON: readonly (readonly [fact: string, code: string, sets: boolean])[] = [
  ['a plain socket has it not', 'sock = socket.socket(); AT_ONCE', reuseLines.Python.byDefault],
  ['a plain socket has it by our line', 'sock = socket.socket(); LINE; AT_ONCE', true],
  ['socket.create_server sets it', 'sock = socket.create_server(("127.0.0.1", PORT))', true],
  ['TCPServer does not', 'sock = socketserver.TCPServer(("127.0.0.1", PORT), None)', false],
  [
    'TCPServer does with allow_reuse_address',
    'socketserver.TCPServer.allow_reuse_address = True; sock = socketserver.TCPServer(("127.0.0.1", PORT), None)',
    true,
  ],
  ['asyncio sets it', 'asyncio.run(serve(PORT))', true],
];

const PRELUDE = `
import asyncio, socket, socketserver, time
async def serve(port):
    await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", port)
    await asyncio.sleep(1000)
`;

for (const [fact, code, expected] of PYTHON) {
  testNeeding('python3')(`Python: ${fact}`, async () => {
    const port = await freePort();
    const text = code
      .replace('AT_ONCE', 'sock.bind(("127.0.0.1", PORT)); sock.listen()')
      .replace('LINE', reuseLines.Python.line)
      .replaceAll('PORT', `${port}`);
    expect(await sets([binaryOf('python3'), '-c', `${PRELUDE}${text}\ntime.sleep(1000)`], port)).toBe(
      expected,
    );
  });
}

testNeeding('cc')('C sets it by our line', async () => {
  const port = await freePort();
  expect(await sets(staticHttp.command(port, '--reuseaddr'), port)).toBe(true);
});

/** Java runs a source file by itself. */
const JAVA: readonly (readonly [fact: string, code: string])[] = [
  ['ServerSocket sets it', 'var server = new java.net.ServerSocket(PORT);'],
  [
    'ServerSocketChannel sets it',
    'var server = java.nio.channels.ServerSocketChannel.open(); server.bind(address);',
  ],
];

for (const [fact, code] of JAVA) {
  testNeeding('java')(`Java: ${fact}`, async () => {
    const port = await freePort();
    const file = join(temporaryFolder(), 'Listen.java');
    const text = `public class Listen { public static void main(String[] args) throws Exception {
      var address = new java.net.InetSocketAddress("127.0.0.1", PORT); ${code} Thread.sleep(1000000); } }`;
    writeFileSync(file, text.replaceAll('PORT', `${port}`));
    const java = binaryOf('java').replace(/javac$/, 'java');
    expect(await sets([java, '-Xmx128m', '-XX:TieredStopAtLevel=1', file], port)).toBe(true);
  });
}
