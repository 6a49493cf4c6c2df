import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { binaryOf } from '../support/requirement.js';
import { shellWords } from '../support/shell.js';
import { temporaryFolder } from '../support/temporary.js';

/** A command that runs another program from its next start on: as after an edit or a deployment. */
export interface ChangingCommand {
  readonly command: readonly string[];
  /** What its next start runs. */
  current(): readonly string[];
  become(next: readonly string[]): void;
}

export function changingCommand(first: readonly string[]): ChangingCommand {
  const file = join(temporaryFolder(), 'server.sh');
  let current = first;
  const become = (next: readonly string[]): void => {
    current = next;
    writeFileSync(file, `exec ${shellWords(next)}\n`);
  };
  become(first);
  return { command: ['/bin/sh', file], current: () => current, become };
}

/** A server on the sockets that the arguments describe; see test/servers/traps/listeners.py. */
export function listenersPy(...sockets: readonly string[]): string[] {
  const file = fileURLToPath(new URL('../servers/traps/listeners.py', import.meta.url));
  return [binaryOf('python3'), '-B', file, ...sockets];
}

/** The command that runs a Python script with these arguments. */
export function python(script: string, ...args: readonly (string | number)[]): string[] {
  return [binaryOf('python3'), '-c', script, ...args.map(String)];
}

/** The first lines of a Python script: what its other parts use. */
export const IMPORTS = 'import errno, os, signal, socket, sys, threading';

/** Python functions: `serve(listener)` answers HTTP with the pid, one connection after another. */
export const ANSWER = `
def answer(connection):
    with connection:
        while b'\\r\\n\\r\\n' not in connection.recv(4096): pass
        body = b'pid %d' % os.getpid()
        connection.sendall(b'HTTP/1.1 200 OK\\r\\nConnection: close\\r\\nContent-Length: %d\\r\\n\\r\\n%b' % (len(body), body))

def serve(listener):
    while True: answer(listener.accept()[0])
`;

/** Says `second binds:` and the errors of two more binds of one socket: before and after its listen. Then serves. */
export const BINDS_TWICE: string = `${IMPORTS}
s = socket.socket()
at = ('127.0.0.1', int(sys.argv[1]))
s.bind(at)
def again():
    try: s.bind(at); return 'none'
    except OSError as error: return errno.errorcode[error.errno]
bound = again()
s.listen(5)
print('second binds:', bound, again(), flush=True)
${ANSWER}
serve(s)
`;
