// Keeps the bytecode that V8 has of `holdfast why` after it ran once, so that no one else has to wait for V8 to compile it.
// The answers go to stdout.

import { renameSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { fileURLToPath } from 'node:url';
import { bytecodeOf, compile, runIn } from '../dist/cli/compiled.js';

const file = fileURLToPath(new URL('../dist/cli/why-ports.cjs', import.meta.url));
const script = compile(file, undefined);
const { whyPorts } = runIn(file, script);

const server = createServer().listen(0, '127.0.0.1', async () => {
  const port = `${server.address().port}`;
  await whyPorts([port]);
  await new Promise((closed) => server.close(closed));
  await whyPorts([port]);
  // In one step: another may start the command meanwhile.
  writeFileSync(`${bytecodeOf(file)}.new`, script.createCachedData());
  renameSync(`${bytecodeOf(file)}.new`, bytecodeOf(file));
  process.exitCode = 0;
});
