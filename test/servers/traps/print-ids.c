// The trap: NO_NEW_PRIVS, which a filter needs without CAP_SYS_ADMIN, takes the meaning from set-user-ID bits and
// file capabilities below it. A test gives this program such a bit and compares what it says.
// Usage: print-ids

#include "serve.h"
#include <sys/prctl.h>

int main(void) {
  say("uid %d euid %d gid %d egid %d no_new_privs %d", getuid(), geteuid(), getgid(), getegid(),
      prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
}
