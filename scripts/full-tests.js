// `npm run test:full`: the longest tests in their full length, and their outcome into docs/full-tests.md.
// Words after it choose test files, as with vitest.

import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { arch, cpus, release } from 'node:os';
import { relative } from 'node:path';

const LENGTHS = {
  HOLDFAST_TEST_RELOADS: '200',
  HOLDFAST_TEST_BAD_RELOADS: '50',
  HOLDFAST_TEST_RELOAD_RATE: '2000',
  HOLDFAST_TEST_KILLS: '20',
  HOLDFAST_TEST_STANDBY_RATE: '500',
  HOLDFAST_TEST_KEEPER_KILLS: '20',
  HOLDFAST_TEST_STOPS: '20',
  HOLDFAST_TEST_STARTS: '20',
  HOLDFAST_TEST_EVENTS: '2000',
  HOLDFAST_TEST_TURNOVERS: '2000000',
  HOLDFAST_TEST_LIFECYCLES: '700000',
  HOLDFAST_TEST_RESERVERS: '100',
  HOLDFAST_TEST_PORT_RUNS: '60',
  HOLDFAST_TEST_CLOSINGS: '20',
  HOLDFAST_TEST_CLOSING_REQUESTS: '5000',
  HOLDFAST_TEST_FAN_HOSTS: '300',
  HOLDFAST_TEST_RSH_ROUNDS: '10',
  HOLDFAST_TEST_RSH_TO_ONE: '2000',
  HOLDFAST_TEST_SSH_HOSTS: '200',
  HOLDFAST_TEST_FAN_MEGABYTES: '1000',
  HOLDFAST_TEST_FAN_MANY: '5000',
};
const FILES = [
  ...[
    'reload',
    'turnover',
    'lifecycle.property',
    'servers',
    'adoption',
    'standby',
    'service-manager.cli',
    'stop',
    'traps-access',
    'miniature',
  ].map((name) => `test/keeper/${name}`),
  ...['crowd', 'port'].map((name) => `test/ports/${name}`),
  'test/closing/under-load',
  ...['fan', 'size', 'many'].map((name) => `test/fan/${name}`),
];
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
writeFileSync(PAGE, pageOf(JSON.parse(readFileSync(REPORT, 'utf8')), readFileSync(PAGE, 'utf8')));
process.exitCode = status ?? 1;

function pageOf({ testResults, startTime }, former) {
  const date = new Date(startTime).toISOString().slice(0, 10);
  const results = testResults.map(({ name, assertionResults }) => {
    const file = relative('.', name);
    const rows = assertionResults
      .filter((test) => test.status !== 'pending' && test.status !== 'skipped')
      .map((test) => {
        const seconds = ((test.duration ?? 0) / 1000).toFixed(1);
        return `| ${file} | ${test.title.replaceAll('|', '\\|')} | ${test.status} | ${seconds} | ${date} |`;
      });
    return { file, rows };
  });
  const run = new Set(results.map(({ file }) => file));
  // What was not run this time is told as it was.
  const kept = former.split('\n').filter((line) => {
    const file = /^\| (test\/\S+) \|/.exec(line)?.[1];
    return file !== undefined && !run.has(file) && existsSync(file);
  });
  const rows = [...kept, ...results.flatMap((result) => result.rows)].sort();
  const lengths = Object.entries(LENGTHS).map(([name, value]) => `\`${name}=${process.env[name] ?? value}\``);
  return `# The tests in their full length

What \`npm run test:full\` said last of each. \`npm test\` runs the same tests shorter; these variables say how long:
${lengths.join(', ')}.

${cpus().length} cores of ${cpus()[0]?.model.trim()} (${arch()}), Linux ${release()}, Node ${process.versions.node}.

| file | test | outcome | s | on |
|---|---|---|---|---|
${rows.join('\n')}
`;
}
