import { declare, type Fd } from './libc.js';

const tcgetattr = declare('int tcgetattr(int fd, void *modes)');
const tcsetattr = declare('int tcsetattr(int fd, int when, const void *modes)');

const TCSADRAIN = 1;
/** More than struct termios takes in glibc (60 bytes) and musl. */
const TERMIOS_ROOM = 128;

/** The modes of the terminal on this fd, to be given back to `restoreModes`; undefined for anything else. */
export function terminalModes(fd: Fd): Buffer | undefined {
  const modes = Buffer.alloc(TERMIOS_ROOM);
  return tcgetattr(fd, modes) === 0 ? modes : undefined;
}

/** Puts the terminal back into modes that it had, e.g. after a program died in raw mode. @see termios(3) */
export function restoreModes(fd: Fd, modes: Buffer): void {
  tcsetattr(fd, TCSADRAIN, modes);
}
