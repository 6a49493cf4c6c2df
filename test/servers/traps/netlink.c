// The trap: getaddrinfo binds a netlink socket at every look-up, thousands of times a second in a busy program. A
// bind that is not of an IP socket must not wait for the keeper. Each request binds COUNT netlink sockets and
// answers `binds COUNT` and `bind_ns N`, the mean time of one bind.
// Usage: netlink PORT [COUNT]

#include "serve.h"
#include <linux/netlink.h>
#include <time.h>

static long long now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000000000LL + now.tv_nsec;
}

int main(int argc, char **argv) {
  int port = port_argument(argc, argv, 1);
  int count = argc > 2 ? atoi(argv[2]) : 1;
  int listener = stream_socket();
  bind_ipv4(listener, "127.0.0.1", port);
  must(listen(listener, 64), "listen");
  listening(port);
  for (;;) {
    int connection = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    if (connection == -1) continue;
    long long spent = 0;
    for (int i = 0; i < count; i++) {
      int fd = must(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE), "socket");
      struct sockaddr_nl at = {.nl_family = AF_NETLINK};
      long long before = now_ns();
      must(bind(fd, (struct sockaddr *)&at, sizeof at), "bind");
      spent += now_ns() - before;
      close(fd);
    }
    char text[96];
    snprintf(text, sizeof text, "binds %d\nbind_ns %lld\n", count, count > 0 ? spent / count : 0);
    answer(connection, text);
  }
}
