// Times bind and listen: prints `bind_ns N listen_ns N pid N` for each port and then waits for the end.
// Usage: bind PORT...

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static long long now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static void must(int result, const char *what) {
  if (result != -1) return;
  perror(what);
  exit(1);
}

static void serve(int port) {
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  must(fd, "socket");
  int on = 1;
  must(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on), "setsockopt");
  struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

  long long start = now_ns();
  int bound = bind(fd, (struct sockaddr *)&at, sizeof at);
  long long between = now_ns();
  int listens = bound == -1 ? -1 : listen(fd, 511);
  long long end = now_ns();

  must(bound, "bind");
  must(listens, "listen");
  printf("bind_ns %lld listen_ns %lld pid %d\n", between - start, end - between, (int)getpid());
}

int main(int argc, char **argv) {
  for (int i = 1; i < argc; i++) serve(atoi(argv[i]));
  fflush(stdout);
  for (;;) pause();
}
