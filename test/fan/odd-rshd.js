// `node odd-rshd.js PORT WAY`: a server of rcmd(3) with an oddity. Prints `listens`, and what it sees.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

const [port, way] = process.argv.slice(2);

const server = createServer({ allowHalfOpen: true }, (socket) => {
  socket.on('error', () => undefined);
  void serve(socket);
});
server.listen(Number(port), () => console.log('listens'));

async function serve(socket) {
  const field = fieldsOf(socket);
  const errorPort = await field();
  const errors = errorPort === '' ? undefined : await connectBack(socket, Number(errorPort));
  const [, , command] = [await field(), await field(), await field()];
  if (way === 'silent') return;
  if (way === 'slow') await sleep(1_500);
  if (way === 'refuses') {
    socket.end('\x01Permission denied.\n');
    return;
  }
  const child = spawn('/bin/sh', ['-c', command], { stdio: 'pipe', detached: true });
  child.stdin.on('error', () => undefined);
  socket.write(way === 'greets' ? '\0Welcome\n' : '\0');
  socket.on('data', (bytes) => child.stdin.write(bytes));
  socket.once('close', () => child.stdin.end());
  child.stdout.on('data', (bytes) => socket.write(bytes));
  child.stdout.once('data', () => console.log('command begun'));
  child.stderr.on('data', (bytes) => (errors ?? socket).write(bytes));
  await once(child, 'close');
  console.log('command over');
  if (way === 'never closes') return;
  errors?.end();
  socket.end();
}

/** Gives what comes up to the next NUL. */
function fieldsOf(socket) {
  let text = '';
  return async () => {
    while (!text.includes('\0')) {
      const bytes = socket.read();
      if (bytes === null) await once(socket, 'readable');
      else text += bytes;
    }
    const at = text.indexOf('\0');
    const field = text.slice(0, at);
    text = text.slice(at + 1);
    return field;
  };
}

async function connectBack(socket, port) {
  const host = socket.remoteAddress;
  if (way === 'stranger first') {
    const stranger = connect({ host, port });
    stranger.resume();
    await once(stranger, 'close');
    console.log('the stranger is sent away');
  }
  const second = connect({ host, port, localPort: 700 });
  second.on('error', () => undefined);
  second.resume();
  await once(second, 'connect');
  return second;
}
