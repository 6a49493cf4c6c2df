#!/usr/bin/env node
import { version } from '../version.js';
import { loadCompiled } from './compiled.js';

// Loaded on every start, so it loads nothing: what a command needs comes with that command. The build makes a CommonJS file
// of it, since Node takes 10 ms to get its loader of ES modules ready, and `holdfast why` does without.
const [first, ...words] = process.argv.slice(2);
if (first === '--version' || first === '-V') {
  process.stdout.write(`${version}\n`);
} else if (first === 'why' && words.length > 0 && !words.some((word) => word.startsWith('-'))) {
  const { whyPorts } = loadCompiled<typeof import('./why-ports.js')>('why-ports.cjs');
  whyPorts(words);
} else {
  import('./program.js').then(({ runProgram }) => runProgram(process.argv.slice(2)));
}
