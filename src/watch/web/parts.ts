import type { ActionResult, ScenarioAbout, ScenarioRun, WhyAnswer } from './wire.js';

/** What can be done to a keeper from the page. */
export type KeeperAction =
  | { readonly do: 'reload' | 'restart' }
  | { readonly do: 'scale'; readonly workers: number };

/** What the page shows besides sockets, from other parts of holdfast. All of it throws what its command would say. */
export interface PageParts {
  /** @throws {HoldfastError} ERR_HOLDFAST_ADDRESS */
  why(target: string, protocol: 'tcp' | 'udp'): WhyAnswer;
  scenarios(): readonly ScenarioAbout[];
  /** One of the built-in ones. @throws {HoldfastError} ERR_HOLDFAST_SCENARIO, ERR_HOLDFAST_LAB */
  playScenario(id: string, signal: AbortSignal): Promise<ScenarioRun>;
  /** What the server of a keeper of this user writes. @throws {HoldfastError} ERR_HOLDFAST_NOT_RUNNING, ERR_HOLDFAST_NO_LOG */
  output(keeper: string, signal: AbortSignal): AsyncIterable<Buffer>;
  /** @throws {HoldfastError} ERR_HOLDFAST_NOT_RUNNING, ERR_HOLDFAST_OPTION, ERR_HOLDFAST_CONTROL */
  act(keeper: string, action: KeeperAction): Promise<ActionResult>;
}
