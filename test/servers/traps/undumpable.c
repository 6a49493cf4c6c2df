// The trap: a process that is not dumpable cannot be looked into: for an ordinary user /proc/PID/mem and
// pidfd_getfd answer EACCES or EPERM. Its bind must run as if nobody watched.
// Usage: undumpable PORT [HOST]

#include "serve.h"
#include <sys/prctl.h>

int main(int argc, char **argv) {
  int port = port_argument(argc, argv, 1);
  must(prctl(PR_SET_DUMPABLE, 0), "prctl");
  int listener = stream_socket();
  bind_ipv4(listener, argc > 2 ? argv[2] : "127.0.0.1", port);
  must(listen(listener, 16), "listen");
  listening(port);
  serve(listener);
}
