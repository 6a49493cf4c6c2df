import { expect } from 'vitest';
import { type KeeperOptions, startKeeper } from '../support/keeper.js';
import { testNeeding } from '../support/needing.js';
import { openNetns } from '../support/netns.js';
import { freePort } from '../support/ports.js';
import { listeners, listeningInode } from '../support/proc.js';
import { start } from '../support/process.js';
import { trapPath } from '../support/servers.js';
import { until } from '../support/wait.js';
import { freeze, outcomeOf, queueClients } from './clients.js';
import { changingCommand, listenersPy, python } from './programs.js';

const ways: readonly { readonly title: string; readonly options: KeeperOptions }[] = [
  { title: '', options: {} },
  {
    title: ' (where fds cannot be copied)',
    options: { around: (keeper) => [trapPath('deny'), 'pidfd_getfd', ...keeper] },
  },
];

for (const { title, options } of ways) {
  for (const [socket, host] of [
    ['[::ffff:127.0.0.1]:PORT,dual', '127.0.0.1'],
    ['[::ffff:0.0.0.0]:PORT,dual', '127.0.0.1'],
    ['[::]:PORT', '::1'],
    ['[::1]:PORT,v6only', '::1'],
    ['127.0.0.1:PORT,device=lo', '127.0.0.1'],
    ['127.0.0.1:PORT,mptcp', '127.0.0.1'],
    ['[::]:PORT,dual,mptcp', '127.0.0.1'],
  ] as const) {
    testNeeding(['python3', 'cc', 'root'])(`${socket} is kept through crashes${title}`, async () => {
      const port = await freePort();
      const server = listenersPy(socket.replace('PORT', `${port}`));
      const keeper = startKeeper(server, { ...options, name: 'first' });
      await keeper.holding();
      const inode = listeningInode(port);
      for (let crashes = 0; crashes < 2; crashes++) {
        await freeze(keeper.worker());
        const waiting = await queueClients(port, 3, { host });
        const pid = await keeper.crash();
        expect(await waiting.outcomes).toEqual([pid, pid, pid]);
        expect(listeningInode(port)).toBe(inode);
      }
      const second = startKeeper(server, { ...options, name: 'second', beside: keeper });
      expect(await second.process.end()).toEqual({ code: 1, signal: null });
      expect(second.process.stderr).toMatch(/is taken by .*kept by holdfast as "first"/);
      expect(await outcomeOf(port, { host })).toBe(keeper.worker());
    });
  }

  testNeeding(['python3', 'cc'])(
    `a server may change how it spells one address between crashes${title}`,
    async () => {
      const port = await freePort();
      const server = changingCommand(listenersPy(`127.0.0.1:${port}`));
      const keeper = startKeeper(server.command, options);
      await keeper.holding();
      for (const next of [
        `[::ffff:127.0.0.1]:${port},dual`,
        `[::]:${port},dual`,
        `127.0.0.1:${port}`,
        `[::1]:${port}`,
      ]) {
        server.become(listenersPy(next));
        const pid = await keeper.crash();
        await keeper.process.line(/^ready pid/, { after: keeper.state().starts - 1 });
        if (!next.startsWith('[::1]')) await until('only its own socket', () => listeners(port).length === 1);
        expect(await outcomeOf(port, { host: next.startsWith('[::1]') ? '::1' : '127.0.0.1' })).toBe(pid);
      }
    },
  );
}

testNeeding(['python3', 'root'])(
  'a server may give up its device between crashes, and take it again',
  async () => {
    const port = await freePort();
    const bound = listenersPy(`127.0.0.1:${port},device=lo`);
    const free = listenersPy(`127.0.0.1:${port}`);
    const server = changingCommand(bound);
    const keeper = startKeeper(server.command);
    await keeper.holding();
    for (const next of [free, bound, bound, free]) {
      server.become(next);
      const pid = await keeper.crash();
      await keeper.process.line(/^ready pid/, { after: keeper.state().starts - 1 });
      await until('only its own socket', () => listeners(port).length === 1);
      expect(await outcomeOf(port)).toBe(pid);
    }
  },
);

testNeeding(['python3', 'root', 'netns', 'ip'])(
  'a link-local address with its scope is kept through crashes',
  async () => {
    const netns = await openNetns();
    const add = start(netns.command(['ip', 'address', 'add', 'fe80::1/64', 'dev', 'lo', 'nodad']));
    expect((await add.end()).code).toBe(0);
    const keeper = startKeeper(listenersPy('[fe80::1%lo]:8080'), {
      around: (command) => netns.command(command),
    });
    await keeper.holding();
    const inode = listeningInode(8080, netns.pid);
    for (let crashes = 0; crashes < 2; crashes++) {
      const pid = await keeper.crash();
      await keeper.process.line(/^ready pid/, { after: crashes + 1 });
      const client = start(netns.command(python(GET, 'fe80::1%lo', 8080)));
      await client.end();
      expect(client.stdout).toContain(`pid ${pid}\n`);
      expect(listeningInode(8080, netns.pid)).toBe(inode);
    }
  },
);

const GET = `
import socket, sys
host, port = sys.argv[1:]
s = socket.socket(socket.AF_INET6)
s.settimeout(5)
s.connect(socket.getaddrinfo(host, int(port))[0][4])
s.sendall(b'GET / HTTP/1.0\\r\\n\\r\\n')
print(s.recv(4096).decode(), s.recv(4096).decode())
`;
