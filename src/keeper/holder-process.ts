import { exec } from '../kernel/exec.js';
import { setCloseOnExec } from '../kernel/fd.js';
import { allowAnyTracer } from '../kernel/process.js';
import { FIRST_FD } from './hand-over.js';

// The program that a holder begins as where Yama would close it to the next keeper. Arguments: how many fds it holds, and
// the command that it becomes, which keeps the permission.
//
// No worker does this: whoever may copy its fds may also read its memory, which has the server's secrets. A holder has
// nothing but the sockets and the notifier.

const [count, file = '', ...args] = process.argv.slice(2);
allowAnyTracer();
for (let fd = FIRST_FD; fd < FIRST_FD + Number(count); fd++) setCloseOnExec(fd, false);
exec(file, [file, ...args], { env: process.env, ignoreHangup: false });
