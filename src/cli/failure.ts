import { errorCode, errorText, HoldfastError } from '../errors.js';

/** Exit code for wrong usage and for failures of holdfast itself. */
export const TROUBLE = 2;

/** Says on stderr why a command failed, and sets the exit code. */
export function reportFailure(error: unknown): void {
  const code = errorCode(error);
  process.stderr.write(`holdfast: ${errorText(error)}${code === undefined ? '' : ` [${code}]`}\n`);
  process.exitCode = (error instanceof HoldfastError ? commandExitCode(error) : undefined) ?? TROUBLE;
}

/** As shells do: 127 for a program that is not there, 126 for one that may not be run. */
function commandExitCode({ code, cause }: HoldfastError): number | undefined {
  if (code !== 'ERR_HOLDFAST_COMMAND') return undefined;
  const reason = typeof cause === 'object' && cause !== null && 'code' in cause ? cause.code : undefined;
  return reason === 'ENOENT' ? 127 : 126;
}
