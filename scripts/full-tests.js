// `npm run test:full`: the tests of the keeper in their full length, and their outcome into docs/full-tests.md.
// Words after it choose test files, as with vitest.

import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { arch, cpus, release } from 'node:os';
import { relative } from 'node:path';

const LENGTHS = {
  HOLDFAST_TEST_RELOADS: '200',
  HOLDFAST_TEST_BAD_RELOADS: '50',
  HOLDFAST_TEST_KILLS: '20',
  HOLDFAST_TEST_KEEPER_KILLS: '20',
  HOLDFAST_TEST_EVENTS: '2000',
  HOLDFAST_TEST_TURNOVERS: '2000000',
};
const FILES = ['reload', 'turnover', 'servers', 'adoption', 'miniature'].map((name) => `test/keeper/${name}`);
const REPORT = '.cache/full-tests.json';
const PAGE = 'docs/full-tests.md';

mkdirSync('.cache', { recursive: true });
const chosen = process.argv.slice(2);
const { status } = spawnSync(
  'npx',
  [
    ...['vitest', 'run', '--testTimeout', '7200000', '--reporter=default', '--reporter=json'],
    ...[`--outputFile.json=${REPORT}`, ...(chosen.length > 0 ? chosen : FILES)],
  ],
  { stdio: 'inherit', env: { ...LENGTHS, ...process.env } },
);
writeFileSync(PAGE, pageOf(JSON.parse(readFileSync(REPORT, 'utf8'))));
process.exitCode = status ?? 1;

function pageOf({ testResults, startTime }) {
  const rows = testResults.flatMap(({ name, assertionResults }) =>
    assertionResults
      .filter((test) => test.status !== 'pending' && test.status !== 'skipped')
      .map((test) => {
        const seconds = ((test.duration ?? 0) / 1000).toFixed(1);
        return `| ${relative('.', name)} | ${test.title.replaceAll('|', '\\|')} | ${test.status} | ${seconds} |`;
      }),
  );
  const date = new Date(startTime).toISOString().slice(0, 10);
  const lengths = Object.entries(LENGTHS).map(([name, value]) => `\`${name}=${process.env[name] ?? value}\``);
  return `# The tests in their full length

What \`npm run test:full\` said last. \`npm test\` runs the same tests shorter; these variables say how long:
${lengths.join(', ')}.

${date}; ${cpus().length} cores of ${cpus()[0]?.model.trim()} (${arch()}), Linux ${release()}, Node ${process.versions.node}.

| file | test | outcome | s |
|---|---|---|---|
${rows.join('\n')}
`;
}
