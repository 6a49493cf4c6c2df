// A static HTTP server in C, one thread, epoll, keep-alive and pipelining: answers every request with its pid.
// It stops at once on SIGTERM, without any grace. The smallest server for measurements, and the plainest to keep.
// Usage: static PORT [--host HOST] [--backlog N] [--work-us N] [--reuseaddr] [--reuseport] [--mptcp]
//   --host      default 127.0.0.1; an address with a colon is IPv6, `::` is dual stack
//   --backlog   default 4096, which somaxconn limits
//   --work-us   how long each answer keeps the thread busy

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif

enum { EVENTS = 256, BUFFER = 16384 };

static struct {
  int port, backlog, reuseaddr, reuseport, mptcp;
  long work_us;
  const char *host;
} options = {.host = "127.0.0.1", .backlog = 4096};

// What is known of a connection, by fd: how much of the empty line that ends a request has come, how much of the
// header's name that asks to close, and whether it was found.
static struct connection {
  unsigned char line_end, word, closes;
} *connections;

static char keep[256], last[256];
static int keep_length, last_length;

static void die(const char *call) {
  perror(call);
  exit(1);
}

static void parse(int argc, char **argv) {
  static const struct option names[] = {
      {"host", required_argument, NULL, 'h'},
      {"backlog", required_argument, NULL, 'b'},
      {"work-us", required_argument, NULL, 'w'},
      {"reuseaddr", no_argument, &options.reuseaddr, 1},
      {"reuseport", no_argument, &options.reuseport, 1},
      {"mptcp", no_argument, &options.mptcp, 1},
      {0},
  };
  for (int name; (name = getopt_long(argc, argv, "", names, NULL)) != -1;) {
    if (name == 'h') options.host = optarg;
    if (name == 'b') options.backlog = atoi(optarg);
    if (name == 'w') options.work_us = atol(optarg);
    if (name == '?') exit(2);
  }
  if (optind != argc - 1) {
    fprintf(stderr, "usage: %s PORT [options]\n", argv[0]);
    exit(2);
  }
  options.port = atoi(argv[optind]);
}

static int open_listener(void) {
  int v6 = strchr(options.host, ':') != NULL, on = 1;
  int fd = socket(v6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK,
                  options.mptcp ? IPPROTO_MPTCP : 0);
  if (fd == -1) die("socket");
  if (options.reuseaddr && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == -1) die("SO_REUSEADDR");
  if (options.reuseport && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) == -1) die("SO_REUSEPORT");
  struct sockaddr_in at4 = {.sin_family = AF_INET, .sin_port = htons(options.port)};
  struct sockaddr_in6 at6 = {.sin6_family = AF_INET6, .sin6_port = htons(options.port)};
  if (inet_pton(v6 ? AF_INET6 : AF_INET, options.host, v6 ? (void *)&at6.sin6_addr : (void *)&at4.sin_addr) != 1) {
    fprintf(stderr, "not an address: %s\n", options.host);
    exit(2);
  }
  if (bind(fd, v6 ? (void *)&at6 : (void *)&at4, v6 ? sizeof at6 : sizeof at4) == -1) die("bind");
  if (listen(fd, options.backlog) == -1) die("listen");
  return fd;
}

static void prepare_answers(void) {
  char body[32];
  int length = sprintf(body, "pid %d\n", getpid());
  const char *head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n%s\r\n%s";
  keep_length = snprintf(keep, sizeof keep, head, length, "", body);
  last_length = snprintf(last, sizeof last, head, length, "Connection: close\r\n", body);
}

static void work(void) {
  if (options.work_us == 0) return;
  struct timespec start, now;
  clock_gettime(CLOCK_MONOTONIC, &start);
  do clock_gettime(CLOCK_MONOTONIC, &now);
  while ((now.tv_sec - start.tv_sec) * 1000000 + (now.tv_nsec - start.tv_nsec) / 1000 < options.work_us);
}

// Gives 0 when the connection is done.
static int read_requests(int fd) {
  static const char end[] = "\r\n\r\n", close_header[] = "connection: close";
  struct connection *state = &connections[fd];
  char buffer[BUFFER];
  ssize_t got = read(fd, buffer, sizeof buffer);
  if (got == -1) return errno == EAGAIN || errno == EINTR;
  if (got == 0) return 0;
  for (ssize_t i = 0; i < got; i++) {
    char byte = buffer[i], lower = byte >= 'A' && byte <= 'Z' ? byte + 32 : byte;
    state->word = lower == close_header[state->word] ? state->word + 1 : lower == close_header[0];
    if (close_header[state->word] == 0) state->closes = 1, state->word = 0;
    state->line_end = byte == end[state->line_end] ? state->line_end + 1 : byte == end[0];
    if (end[state->line_end] != 0) continue;
    state->line_end = 0;
    work();
    // Answers are far smaller than the send buffer: one that does not fit has a client that never reads.
    if (state->closes) {
      send(fd, last, last_length, MSG_NOSIGNAL);
      return 0;
    }
    if (send(fd, keep, keep_length, MSG_NOSIGNAL) != keep_length) return 0;
  }
  return 1;
}

int main(int argc, char **argv) {
  parse(argc, argv);
  struct rlimit files;
  getrlimit(RLIMIT_NOFILE, &files);
  if (files.rlim_max > 65536) files.rlim_max = 65536;
  files.rlim_cur = files.rlim_max;
  setrlimit(RLIMIT_NOFILE, &files);
  connections = calloc(files.rlim_cur, sizeof *connections);
  prepare_answers();

  int listener = open_listener();
  int epoll = epoll_create1(EPOLL_CLOEXEC);
  struct epoll_event event = {.events = EPOLLIN, .data.fd = listener}, events[EVENTS];
  if (epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event) == -1) die("epoll_ctl");
  dprintf(1, "listening on %d pid %d\n", options.port, getpid());

  for (;;) {
    int count = epoll_wait(epoll, events, EVENTS, -1);
    for (int i = 0; i < count; i++) {
      int fd = events[i].data.fd;
      if (fd != listener) {
        if (!read_requests(fd)) close(fd);
        continue;
      }
      for (int next; (next = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) != -1;) {
        int on = 1;
        setsockopt(next, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        connections[next] = (struct connection){0};
        event.data.fd = next;
        if (epoll_ctl(epoll, EPOLL_CTL_ADD, next, &event) == -1) die("epoll_ctl");
      }
    }
  }
}
