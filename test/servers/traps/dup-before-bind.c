// The trap: two fds of one socket. When bind on the first swaps only that fd, the second still names the unbound
// socket, and listen on it takes a random port while clients of the real one hang.
// Usage: dup-before-bind PORT [HOST]

#include "serve.h"

int main(int argc, char **argv) {
  int port = port_argument(argc, argv, 1);
  int fresh = stream_socket();
  int copy = must(fcntl(fresh, F_DUPFD_CLOEXEC, 0), "fcntl");
  bind_ipv4(fresh, argc > 2 ? argv[2] : "127.0.0.1", port);
  must(listen(copy, 16), "listen");
  struct sockaddr_in at;
  socklen_t length = sizeof at;
  must(getsockname(copy, (struct sockaddr *)&at, &length), "getsockname");
  listening(ntohs(at.sin_port)); // the port that it really got
  serve(copy);
}
