import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { start } from '../support/process.js';
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

/** Has the kernel ask before anybody opens or executes the file, and says so; a line lets them. @see fcntl(2), leases */
const LEASE: string = `${IMPORTS}, fcntl
signal.signal(signal.SIGIO, lambda *_: print('asked', flush=True))
fd = os.open(sys.argv[1], os.O_RDONLY)
fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)
print('leased', flush=True)
sys.stdin.readline()
fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
`;

interface HeldBack {
  /** Settles when a start is there. */
  readonly isMet: () => Promise<unknown>;
  readonly letGo: () => void;
}

/**
 * A command that runs another one, and of which a start can be held back when it has been forked and is about to begin its
 * program: as a busy machine does it for some milliseconds.
 */
export function heldBackCommand(command: readonly string[]): {
  readonly command: readonly string[];
  /** From now on the next start is. Needs python3. */
  readonly hold: () => Promise<HeldBack>;
} {
  const file = join(temporaryFolder(), 'program');
  writeFileSync(file, '#!/bin/sh\nexec "$@"\n', { mode: 0o755 });
  const hold = async (): Promise<HeldBack> => {
    const lease = start(python(LEASE, file), { stdio: ['pipe', 'pipe', 'pipe'] });
    await lease.line(/^leased/);
    return { isMet: () => lease.line(/^asked/), letGo: () => void lease.child.stdin?.write('\n') };
  };
  return { command: [file, ...command], hold };
}
