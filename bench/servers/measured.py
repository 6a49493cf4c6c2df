"""`measured.py FILE COMMAND...` runs a command and writes what it took, with all that it has waited for, to FILE."""

import json
import resource
import subprocess
import sys
import time

file, *command = sys.argv[1:]
begin = time.monotonic()
status = subprocess.run(command, stdin=subprocess.DEVNULL, check=False).returncode
seconds = time.monotonic() - begin
used = resource.getrusage(resource.RUSAGE_CHILDREN)
with open(file, 'w', encoding='utf-8') as out:
    json.dump(
        {
            'status': status,
            'seconds': seconds,
            'cpuSeconds': used.ru_utime + used.ru_stime,
            'largestMb': used.ru_maxrss / 1024,
        },
        out,
    )
