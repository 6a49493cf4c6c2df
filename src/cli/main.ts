#!/usr/bin/env node
import { version } from '../version.js';

// Loaded on every start, so it loads nothing: what a command needs comes with that command.
const [first, ...words] = process.argv.slice(2);
if (first === '--version' || first === '-V') {
  process.stdout.write(`${version}\n`);
} else if (first === 'why' && words.length > 0 && !words.some((word) => word.startsWith('-'))) {
  const { whyPorts } = await import('./why-ports.js');
  await whyPorts(words);
} else {
  const { runProgram } = await import('./program.js');
  await runProgram(process.argv.slice(2));
}
