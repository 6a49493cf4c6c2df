/** The code of one of holdfast's own failures. Callers match it, never the text. */
export type HoldfastErrorCode =
  | 'ERR_HOLDFAST_ADDRESS'
  | 'ERR_HOLDFAST_ADDRESS_TAKEN'
  | 'ERR_HOLDFAST_COMMAND'
  | 'ERR_HOLDFAST_CONTROL'
  | 'ERR_HOLDFAST_LAB'
  | 'ERR_HOLDFAST_NAME'
  | 'ERR_HOLDFAST_NAME_TAKEN'
  | 'ERR_HOLDFAST_NOT_RUNNING'
  | 'ERR_HOLDFAST_OPTION'
  | 'ERR_HOLDFAST_SCENARIO'
  | 'ERR_HOLDFAST_STATE_DIRECTORY'
  | 'ERR_HOLDFAST_TRAP_UNAVAILABLE'
  | 'ERR_HOLDFAST_UNSUPPORTED'
  | 'ERR_HOLDFAST_USER';

/** A failure of holdfast itself: says what, where and what to do, and carries a stable `code`. */
export class HoldfastError extends Error {
  readonly code: HoldfastErrorCode;

  constructor(code: HoldfastErrorCode, message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = 'HoldfastError';
    this.code = code;
  }
}

/** The stable code of any error that has one (Node's, a system call's or ours). */
export function errorCode(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined;
}

/** Whether it says that a process is another user's or may not be traced by us. */
export function isForbidden(error: unknown): boolean {
  const code = errorCode(error);
  return code === 'EACCES' || code === 'EPERM';
}

/** The text of anything that was thrown. */
export function errorText(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
