// Runs one bench: `npm run bench -- NAME [options]`. A bench is a file beside this one that exports `main`.

import { readdirSync } from 'node:fs';
import { parse } from 'node:path';
import { fromProject } from './support/project.js';

interface Bench {
  main(args: readonly string[]): Promise<void>;
}

const names = readdirSync(fromProject('bench'))
  .filter((file) => file.endsWith('.ts') && file !== 'main.ts')
  .map((file) => parse(file).name);
const [name, ...args] = process.argv.slice(2);

if (name !== undefined && names.includes(name)) {
  const { main } = (await import(`./${name}.js`)) as Bench;
  await main(args);
} else {
  const usage = `Usage: npm run bench -- NAME [options]\nBenches: ${names.join(', ')}\n`;
  (name === undefined ? process.stdout : process.stderr).write(usage);
  if (name !== undefined) process.exitCode = 2;
}
