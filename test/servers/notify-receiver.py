# Stands for systemd: receives sd_notify datagrams at the path given, says each as one line with `|` between its
# parts, keeps the fds of FDSTORE=1 by name, and on a line `start COMMAND ...` becomes that command with the stored
# fds as LISTEN_FDS.
import array, os, select, socket, sys

receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
receiver.bind(sys.argv[1])
stored = {}
print('receiving', flush=True)
while True:
    ready, _, _ = select.select([receiver, sys.stdin], [], [])
    if receiver in ready:
        data, control, _, _ = receiver.recvmsg(4096, socket.CMSG_SPACE(4 * 8))
        fields = dict(line.split('=', 1) for line in data.decode().split('\n') if line)
        fds = array.array('i')
        for level, kind, value in control:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                fds.frombytes(value[: len(value) - len(value) % fds.itemsize])
        if fields.get('FDSTORE') == '1' and len(fds) == 1:
            stored[fields['FDNAME']] = fds[0]
        if fields.get('FDSTOREREMOVE') == '1' and fields['FDNAME'] in stored:
            os.close(stored.pop(fields['FDNAME']))
        print('|'.join(data.decode().split('\n')), 'fds', len(fds), 'stored', len(stored), flush=True)
    if sys.stdin in ready:
        words = sys.stdin.readline().split()
        if not words:
            sys.exit(0)
        names = list(stored)
        moved = [os.dup(stored[name]) for name in names]
        high = [os.dup2(fd, 100 + index) for index, fd in enumerate(moved)]
        for index, fd in enumerate(high):
            os.dup2(fd, 3 + index, inheritable=True)
        if os.fork() == 0:
            os.environ.update(
                LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(names)), LISTEN_FDNAMES=':'.join(names)
            )
            os.execvp(words[1], words[1:])
