import { once } from 'node:events';
import { connect } from 'node:net';
import { expect, onTestFinished, test } from 'vitest';
import { addToEpoll, createEpoll, EPOLLIN, waitForEpoll } from '../../src/kernel/epoll.js';
import { close, duplicate, duplicateTo } from '../../src/kernel/fd.js';
import { epollRegistrations } from '../../src/kernel/procfs.js';
import { bind, listen, setReuseAddress, socketInode, streamSocket } from '../../src/kernel/socket.js';
import { freePort } from '../support/ports.js';

const DATA = 0x1122334455667788n;

test('a registration in epoll goes with the file, not with the number, and can be made anew for a number', async () => {
  const port = await freePort();
  const epoll = createEpoll();
  const fresh = streamSocket('ipv4');
  const held = streamSocket('ipv4');
  onTestFinished(() => [epoll, fresh, held].forEach(close));
  setReuseAddress(held, true);
  bind(held, { family: 'ipv4', host: '127.0.0.1', port });
  listen(held, 16);
  addToEpoll(epoll, fresh, { events: EPOLLIN, data: DATA });
  expect(epollRegistrations(process.pid, socketInode(fresh))).toEqual([
    { epoll, fd: fresh, events: expect.any(Number), data: DATA },
  ]);

  // What a keeper's swap does: another file at the same number. The last reference to the fresh one is gone.
  duplicateTo(held, fresh);
  expect(epollRegistrations(process.pid, socketInode(held))).toEqual([]);

  // The number belongs to whoever registers; the file may have another one, or none, afterwards.
  const copy = duplicate(fresh);
  addToEpoll(epoll, copy, { events: EPOLLIN, data: DATA });
  close(copy);
  expect(epollRegistrations(process.pid, socketInode(held))).toMatchObject([{ epoll, fd: copy, data: DATA }]);
  const client = connect(port, '127.0.0.1');
  onTestFinished(() => void client.destroy());
  await once(client, 'connect');
  expect(await waitForEpoll(epoll)).toEqual([{ events: EPOLLIN, data: DATA }]);
});
