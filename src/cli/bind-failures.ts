import type { Diagnosis } from './notice-log.js';

/** Of one failed start no more addresses are looked at: each costs the keeper some milliseconds. */
const ADDRESSES_MAX = 3;

/** Tells who has the addresses that a server could not have: each once, until the server has listened. */
export class BindFailures {
  readonly #say: (diagnosis: Diagnosis) => void;
  readonly #told = new Set<string>();
  #work: Promise<void> = Promise.resolve();

  constructor(say: (diagnosis: Diagnosis) => void) {
    this.#say = say;
  }

  /** Looks who has them, a moment later. */
  add(addresses: readonly string[]): void {
    this.#work = this.#work.then(async () => {
      try {
        for (const address of addresses.slice(-ADDRESSES_MAX)) await this.#tell(address);
      } catch {
        // Whatever it is (no inet_diag, a sandbox): it must not come between the keeper and its server.
      }
    });
  }

  /** The server has listened: what fails from now on is new. */
  forget(): void {
    this.#told.clear();
  }

  /** Resolves when all that was added has been told. */
  done(): Promise<void> {
    return this.#work;
  }

  async #tell(address: string): Promise<void> {
    if (this.#told.has(address)) return;
    const { whoHasTaken } = await import('../diagnosis/taken.js');
    const taken = whoHasTaken(address);
    if (taken === undefined) return;
    this.#told.add(address);
    this.#say({ type: 'diagnosis', ...taken });
  }
}
