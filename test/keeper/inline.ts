/** `sh -c SCRIPT`, in which `"$@"` is the command. */
export function sh(script: string, ...command: readonly string[]): string[] {
  return ['/bin/sh', '-c', script, 'sh', ...command];
}

/** A server in Node that does something when it listens, or when it gets a signal. */
export function nodeServer(port: number, when: 'listening' | 'SIGUSR2', act: string): string[] {
  const emitter = when === 'listening' ? 'server' : 'process';
  const script = `
    const server = require('node:http').createServer((_, response) => response.end('pid ' + process.pid + '\\n'));
    ${emitter}.on('${when}', () => ${act});
    server.listen(${port}, '127.0.0.1');`;
  return [process.execPath, '-e', script];
}
