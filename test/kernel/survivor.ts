import { kernelFile } from './inside.js';

/**
 * Code for `inside`: `survivor(port)` starts a process that listens, of which the first thread has ended while another
 * lives on, for 20 s at most. Gives the child and the number of its listener.
 */
export const SURVIVOR: string = `
  const { spawn: spawnSurvivor } = await import('node:child_process');
  const { once: onceSurvivor } = await import('node:events');
  const { readFileSync: readStat } = await import('node:fs');
  const survivor = async (port) => {
    const program = \`
      const { Worker } = await import('node:worker_threads');
      const { openSocket, bindTo, listenWith } = await import(${kernelFile('socket-calls')});
      const { declare } = await import(${kernelFile('libc')});
      const fd = openSocket('tcp', 'ipv4');
      bindTo(fd, { family: 'ipv4', host: '127.0.0.1', port: \${port} });
      listenWith(fd, 8);
      const thread = new Worker('setTimeout(() => 0, 20_000)', { eval: true });
      await new Promise((resolve) => thread.once('online', resolve));
      (await import('node:fs')).writeSync(1, fd + '\\\\n');
      const exit = process.arch === 'x64' ? 60 : 93;
      declare('long syscall(long number, long code)')(exit, 0);\`;
    const child = spawnSurvivor(process.execPath, ['--input-type=module', '-e', program]);
    const [text] = await onceSurvivor(child.stdout, 'data');
    for (let tries = 0; tries < 500 && !/\\) Z /.test(readStat('/proc/' + child.pid + '/stat', 'latin1')); tries++) {
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    return { child, fd: Number(text) };
  };`;
