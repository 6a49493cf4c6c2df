import type { Problem } from '../src/watch/web/wire.js';

export const SESSION_OVER =
  'The session of this page is over. Run holdfast watch --web again, or open the new address that it prints.';

/** What the server, or the way to it, says instead of an answer. */
export class Refusal extends Error {
  readonly code: string;

  constructor({ code, text }: Problem) {
    super(text);
    this.code = code;
  }
}

/** @throws {Refusal} */
export function get<T>(path: string): Promise<T> {
  return ask<T>(path, {});
}

/** @throws {Refusal} */
export function post<T>(path: string, body: object = {}): Promise<T> {
  const headers = { 'content-type': 'application/json' };
  return ask<T>(path, { method: 'POST', headers, body: JSON.stringify(body) });
}

/** Why there is no stream of events: an EventSource does not tell what it was answered instead, so it is asked once more. */
export async function whyNoStream(path: string): Promise<string> {
  const enough = new AbortController();
  try {
    await answerOf(path, { signal: enough.signal });
    return 'The server has ended it.';
  } catch (error) {
    return wordsOf(error);
  } finally {
    enough.abort();
  }
}

async function ask<T>(path: string, init: RequestInit): Promise<T> {
  const answer = await answerOf(path, init);
  return (await answer.json()) as T;
}

async function answerOf(path: string, init: RequestInit): Promise<Response> {
  const answer = await fetch(`api/${path}`, init).catch((error: unknown) => {
    throw new Refusal({ code: 'UNREACHABLE', text: `The server cannot be reached: ${wordsOf(error)}` });
  });
  if (answer.ok) return answer;
  if (answer.status === 403) throw new Refusal({ code: 'SESSION_OVER', text: SESSION_OVER });
  const body: unknown = await answer.json().catch(() => undefined);
  const { status } = answer;
  throw new Refusal(isProblem(body) ? body : { code: `${status}`, text: `The server answered ${status}.` });
}

function isProblem(value: unknown): value is Problem {
  return typeof value === 'object' && value !== null && 'code' in value && 'text' in value;
}

export function wordsOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
