import { chmodSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Browser, chromium } from 'playwright-core';
import { binaryOf } from './requirement.js';
import { shellWords } from './shell.js';
import { temporaryFolder } from './temporary.js';

/** Debian's Chromium without a window. `around`: the command that runs another one elsewhere. */
export async function openBrowser(
  around: (command: readonly string[]) => readonly string[] = (command) => command,
): Promise<Browser> {
  const executablePath = join(temporaryFolder(), 'browser');
  writeFileSync(executablePath, `#!/bin/sh\nexec ${shellWords(around([binaryOf('chromium')]))} "$@"\n`);
  chmodSync(executablePath, 0o755);
  // Its own sandbox needs user namespaces, which a container may not have; the page is ours.
  return chromium.launch({ executablePath, chromiumSandbox: false, timeout: 60_000 });
}
