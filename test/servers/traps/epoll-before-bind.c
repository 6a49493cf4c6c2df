// The trap: a registration in epoll belongs to the open file, not to the fd number. When another socket is put
// at this fd during bind, epoll_wait stays silent for ever, although the socket is readable.
// Usage: epoll-before-bind PORT [HOST]

#include "serve.h"
#include <sys/epoll.h>

int main(int argc, char **argv) {
  int port = port_argument(argc, argv, 1);
  int listener = stream_socket();
  int epoll = must(epoll_create1(EPOLL_CLOEXEC), "epoll_create1");
  struct epoll_event event = {.events = EPOLLIN, .data.fd = listener};
  must(epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event), "epoll_ctl");
  bind_ipv4(listener, argc > 2 ? argv[2] : "127.0.0.1", port);
  must(listen(listener, 16), "listen");
  must(fcntl(listener, F_SETFL, O_NONBLOCK), "fcntl");
  listening(port);
  for (;;) {
    if (epoll_wait(epoll, &event, 1, -1) == -1 && errno != EINTR) die("epoll_wait");
    int connection = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    if (connection != -1) answer(connection, "");
  }
}
