// Writes docs/rules.md from the rules themselves. Usage: node scripts/write-rules.js [--check], after a build.

import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { LINUX_6_1, LINUX_6_8, LINUX_6_14, LINUX_6_18 } from '../dist/model/kernel-rules.js';
import { OTHER_SYSTEMS } from '../dist/model/other-systems.js';
import { rules } from '../dist/model/rules.js';

const file = fileURLToPath(new URL('../docs/rules.md', import.meta.url));

const KNOWN = {
  tcp: 'random programs',
  udp: 'random programs',
  both: 'random programs',
  scenario: 'scenarios',
  source: 'read in the source, not run',
};

/** @param {readonly string[]} titles @param {readonly (readonly string[])[]} rows */
function table(titles, rows) {
  const line = (cells) => `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`;
  return [line(titles), line(titles.map(() => '---')), ...rows.map(line)].join('\n');
}

/** The page as it should be. */
export function rulesPage() {
  const all = Object.entries(rules).map(([id, { says, kernel, reached = 'tcp' }]) => [
    `\`${id}\``,
    says,
    kernel,
    KNOWN[reached],
  ]);
  const versions = [LINUX_6_18, LINUX_6_14, LINUX_6_8, LINUX_6_1];
  const switches = Object.keys(LINUX_6_18.rules).filter(
    (name) => new Set(versions.map((version) => version.rules[name])).size > 1,
  );
  const differences = switches.map((name) => [
    `\`${name}\``,
    ...versions.map((version) => (version.rules[name] ? 'yes' : 'no')),
  ]);
  const others = OTHER_SYSTEMS.map(
    ({ name, source, binds }) =>
      `### ${name}\n\n${source}.\n\n${table(
        ['first socket', 'second socket', 'its bind'],
        binds.map(({ first, second, outcome }) => [first, second, outcome]),
      )}`,
  );
  return `# The kernel's rules

Written by \`node scripts/write-rules.js\` from \`src/model\`; do not edit. \`holdfast predict\` and \`holdfast lab\` name rules by
these ids. "Known by" tells how a rule was compared with a live kernel (${LINUX_6_18.name}): by random programs
(\`holdfast lab fuzz\`), by scenarios (\`holdfast lab run\`), or not at all.

${table(['rule', 'what it says', 'in the kernel', 'known by'], all)}

## Versions

${LINUX_6_18.name} was compared with a live kernel. The others were read in their source or history and not run.

${table(['rule', ...versions.map(({ name }) => name)], differences)}

## Other systems

From documentation, not measured.

${others.join('\n\n')}
`;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const page = rulesPage();
  if (process.argv.includes('--check')) {
    if (readFileSync(file, 'utf8') === page) process.exit(0);
    process.stderr.write('docs/rules.md is not what the rules say; run: node scripts/write-rules.js\n');
    process.exit(1);
  }
  writeFileSync(file, page);
}
