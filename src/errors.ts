/** The code of one of holdfast's own failures. Callers match it, never the text. */
export type HoldfastErrorCode =
  | 'ERR_HOLDFAST_ADDRESS'
  | 'ERR_HOLDFAST_ADDRESS_TAKEN'
  | 'ERR_HOLDFAST_ADOPT'
  | 'ERR_HOLDFAST_APPS_FILE'
  | 'ERR_HOLDFAST_COMMAND'
  | 'ERR_HOLDFAST_CONNECTION_EXISTS'
  | 'ERR_HOLDFAST_CONTROL'
  | 'ERR_HOLDFAST_HOSTS'
  | 'ERR_HOLDFAST_KEEPER_ENDED'
  | 'ERR_HOLDFAST_LAB'
  | 'ERR_HOLDFAST_LOG_FILE'
  | 'ERR_HOLDFAST_NAME'
  | 'ERR_HOLDFAST_NAME_TAKEN'
  | 'ERR_HOLDFAST_NOT_FREED'
  | 'ERR_HOLDFAST_NOT_RUNNING'
  | 'ERR_HOLDFAST_NOT_KEPT'
  | 'ERR_HOLDFAST_NO_LOG'
  | 'ERR_HOLDFAST_NO_PORT'
  | 'ERR_HOLDFAST_OPTION'
  | 'ERR_HOLDFAST_PM2_FILE'
  | 'ERR_HOLDFAST_RESERVATION'
  | 'ERR_HOLDFAST_SCENARIO'
  | 'ERR_HOLDFAST_STATE_DIRECTORY'
  | 'ERR_HOLDFAST_TAKE_OVER'
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

/** A failure of bind, listen or connect, as Node and system calls give it. */
export interface AddressError extends Error {
  readonly code: string;
  readonly port: number;
  readonly address?: unknown;
  readonly syscall?: unknown;
}

/**
 * The failure for an address of a port that a diagnosis could explain (EADDRINUSE, EADDRNOTAVAIL, EACCES): the error
 * itself, its `cause`, or one of the `errors` of an AggregateError. Never throws.
 */
export function addressErrorIn(error: unknown): AddressError | undefined {
  try {
    const { cause, errors } = Object(error) as { readonly cause?: unknown; readonly errors?: unknown };
    return [error, cause, ...(Array.isArray(errors) ? errors : [])].find(isAddressError);
  } catch {
    // Anything can be thrown: a getter, or a proxy, that throws itself.
    return undefined;
  }
}

function isAddressError(error: unknown): error is AddressError {
  if (!['EADDRINUSE', 'EADDRNOTAVAIL', 'EACCES'].includes(errorCode(error) ?? '')) return false;
  const { port } = error as { readonly port?: unknown };
  return typeof port === 'number' && port > 0;
}

/** The text of anything that was thrown. */
export function errorText(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
