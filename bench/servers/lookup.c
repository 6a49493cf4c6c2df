// An HTTP server that looks a name up for each request. getaddrinfo with AI_ADDRCONFIG asks the kernel for its
// addresses each time, over a netlink socket that it binds.
// Usage: lookup PORT

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BACKLOG = 511, EVENTS = 64, REQUEST_BYTES = 4096 };

static int must(int result, const char *what) {
  if (result != -1) return result;
  perror(what);
  exit(1);
}

static void watch(int poller, int fd) {
  struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
  must(epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event), "epoll_ctl");
}

static void look_up(void) {
  struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG};
  struct addrinfo *found = NULL;
  int error = getaddrinfo("localhost", "80", &hints, &found);
  if (error != 0) {
    fprintf(stderr, "getaddrinfo: %s\n", gai_strerror(error));
    exit(1);
  }
  freeaddrinfo(found);
}

static const char *reply_to(const char *request, int *closes) {
  static char replies[2][256];
  *closes = strcasestr(request, "connection: close") != NULL;
  char *reply = replies[*closes];
  if (*reply == '\0') {
    char body[32];
    int length = snprintf(body, sizeof body, "pid %d\n", (int)getpid());
    snprintf(reply, sizeof replies[0], "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n%s\r\n%s", length,
             *closes ? "Connection: close\r\n" : "", body);
  }
  return reply;
}

// Every request of the bench's client comes whole, and the next one only after the answer.
static void answer(int connection) {
  char request[REQUEST_BYTES + 1];
  ssize_t got = read(connection, request, REQUEST_BYTES);
  if (got > 0) {
    request[got] = '\0';
    look_up();
    int closes;
    const char *reply = reply_to(request, &closes);
    size_t length = strlen(reply);
    if (write(connection, reply, length) == (ssize_t)length && !closes) return;
  }
  close(connection);
}

int main(int argc, char **argv) {
  int port = argc > 1 ? atoi(argv[1]) : 0;
  int listener = must(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket");
  int on = 1;
  must(setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on), "setsockopt");
  struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  must(bind(listener, (struct sockaddr *)&at, sizeof at), "bind");
  must(listen(listener, BACKLOG), "listen");

  int poller = must(epoll_create1(EPOLL_CLOEXEC), "epoll_create1");
  watch(poller, listener);
  for (;;) {
    struct epoll_event events[EVENTS];
    int count = epoll_wait(poller, events, EVENTS, -1);
    for (int i = 0; i < count; i++) {
      if (events[i].data.fd != listener) {
        answer(events[i].data.fd);
        continue;
      }
      int connection = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
      if (connection == -1) continue;
      setsockopt(connection, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
      watch(poller, connection);
    }
  }
}
