import type { Ended } from '../cli/holdfast.js';
import { holdfast } from '../support/keeper.js';
import { type StartOptions, start } from '../support/process.js';

/** Far more than any run of the lab takes, other test files beside it. */
const RUN_MS = 240_000;
/** For a test with one run in it. */
export const TEST_MS: number = RUN_MS + 10_000;

/** Runs the built `holdfast lab …` to its end. */
export async function runLab(args: readonly string[], options?: StartOptions): Promise<Ended> {
  const started = start([...holdfast, 'lab', ...args], options);
  const { code } = await started.end(RUN_MS);
  await started.stop();
  return { code, stdout: started.stdout, stderr: started.stderr };
}

/** What `lab fuzz --json` prints. */
export interface FuzzReport {
  readonly kernel: { readonly release: string; readonly rules: string; readonly verified: boolean };
  readonly seed: number;
  readonly mix: string;
  readonly programs: number;
  readonly calls: number;
  readonly notModelled: number;
  readonly lost: number;
  readonly disagreements: number;
  readonly flaky: number;
  readonly rules: Readonly<Record<string, number>>;
  readonly neverReached: readonly string[];
  readonly files: readonly string[];
}

/** Runs `lab fuzz`. @throws {Error} with what it said when it printed no report. */
export async function fuzz(
  flags: string,
  options?: StartOptions,
): Promise<{ readonly code: number | null; readonly stderr: string; readonly report: FuzzReport }> {
  const { code, stdout, stderr } = await runLab(['fuzz', '--json', ...flags.split(' ')], options);
  if (stdout === '') throw new Error(`no report, exit ${code}: ${stderr}`);
  return { code, stderr, report: JSON.parse(stdout) as FuzzReport };
}
