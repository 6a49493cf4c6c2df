// The trap: the socket is close-on-exec, and so must be whatever is put at its fd during bind. Otherwise every
// program that the server starts inherits the listener. Says `sleep pid N`; look into /proc/N/fd.
// Usage: exec-after-bind PORT [HOST]

#include "serve.h"
#include <sys/prctl.h>

int main(int argc, char **argv) {
  int port = port_argument(argc, argv, 1);
  int listener = stream_socket();
  bind_ipv4(listener, argc > 2 ? argv[2] : "127.0.0.1", port);
  int executed[2]; // closes when the child has really executed sleep
  must(pipe2(executed, O_CLOEXEC), "pipe2");
  pid_t sleeper = must(fork(), "fork");
  if (sleeper == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    execlp("sleep", "sleep", "600", (char *)NULL);
    die("execlp");
  }
  close(executed[1]);
  char byte;
  if (read(executed[0], &byte, 1) != 0) die("read");
  say("sleep pid %d", sleeper);
  must(listen(listener, 16), "listen");
  listening(port);
  serve(listener);
}
