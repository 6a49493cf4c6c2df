import { HoldfastError } from '../errors.js';
import { foldHosts } from '../fan/host-list.js';
import { type ReloadAt, reloadOn } from '../index.js';
import { checkName } from '../keeper/state.js';
import { type Batch, batches } from '../model/batch.js';
import { type HostFlags, hostsOf, reachOf } from './hosts.js';
import { deedFailed, takenOver } from './reload.js';
import { describeSilence, remoteHoldfast } from './remote-holdfast.js';
import { stream } from './stream.js';

export interface ReloadOnFlags extends HostFlags {
  readonly on: readonly string[];
  readonly batch: Batch;
  readonly stopOnFailure?: true;
  readonly newAddresses?: boolean;
  readonly remoteHoldfast?: string;
  readonly dryRun?: true;
  readonly json?: boolean;
}

/** `holdfast reload NAME --on HOSTS`: exit 0 when every host has its new generation, 1 when one has not or was not begun. */
export async function reloadOnCommand(name: string | undefined, flags: ReloadOnFlags): Promise<void> {
  if (name === undefined)
    throw new HoldfastError(
      'ERR_HOLDFAST_OPTION',
      'with --on the keeper is named: holdfast reload shop --on …',
    );
  const hosts = hostsOf('--on', flags.on, flags);
  if (flags.dryRun) return tellBatches(hosts, flags.batch);
  const rollout = new Rollout(hosts);
  for await (const at of reloadOn({
    ...reachOf(flags),
    ...{ hosts, name: checkName(name), newAddresses: flags.newAddresses },
    ...{ batch: flags.batch, stopOnFailure: flags.stopOnFailure },
    holdfast: remoteHoldfast(flags.remoteHoldfast),
    ...interruption(rollout),
    onStart: (host) => rollout.running.add(host),
    onBatch: ({ number, of, hosts: some }) => {
      if (!flags.json && of > 1) process.stdout.write(`batch ${number} of ${of}: ${foldHosts(some)}\n`);
    },
  })) {
    rollout.ended(at);
    if (flags.json) await stream(`${JSON.stringify(at)}\n`);
    else if (at.ok) await stream(`${at.host}: ${takenOver(at)}\n`);
    else if (at.reason !== 'not-begun') process.stderr.write(describeFailed(at));
  }
  if (!flags.json) rollout.tell();
  if (!rollout.isDone) process.exitCode = 1;
}

async function tellBatches(hosts: readonly string[], batch: Batch): Promise<void> {
  const all = batches(hosts, batch);
  const lines = all.map((some, index) => `batch ${index + 1} of ${all.length}: ${foldHosts(some)}\n`);
  await stream(lines.join(''));
}

/** After these the keeper there may be in the middle of it. */
const GOES_ON: readonly string[] = ['lost', 'stopped', 'timed-out'];

/** Every line under its host's name. */
function describeFailed(at: Extract<ReloadAt, { readonly ok: false }>): string {
  const text = at.reason === 'reload-failed' ? `${deedFailed(at)}: ${at.text}` : describeSilence(at);
  const note = GOES_ON.includes(at.reason) ? '; the reload goes on there if it has begun' : '';
  return `${text}${note}`
    .split('\n')
    .map((line) => `${at.host}: holdfast: ${line}\n`)
    .join('');
}

/** How far it is. */
class Rollout {
  readonly running = new Set<string>();
  readonly #total: number;
  readonly #done: string[] = [];
  readonly #failed: string[] = [];
  readonly #notBegun: string[] = [];

  constructor(hosts: readonly string[]) {
    this.#total = hosts.length;
  }

  get isDone(): boolean {
    return this.#done.length === this.#total;
  }

  ended(at: ReloadAt): void {
    this.running.delete(at.host);
    const ends = at.ok ? this.#done : at.reason === 'not-begun' ? this.#notBegun : this.#failed;
    ends.push(at.host);
  }

  /** At the end: what went well to stdout, the rest to stderr. */
  tell(): void {
    if (this.isDone) {
      process.stdout.write(`reloaded at ${count(this.#total)}\n`);
      return;
    }
    const failed = this.#failed.length === 0 ? [] : [`failed: ${foldHosts(this.#failed)}`];
    const rest = this.#notBegun.length === 0 ? [] : [`not touched: ${foldHosts(this.#notBegun)}`];
    const words = [`reloaded at ${this.#done.length} of ${count(this.#total)}`, ...failed, ...rest];
    process.stderr.write(`holdfast: ${words.join('; ')}\n`);
  }
}

/** Once: no other host is begun, and reloads that run are waited for. Twice: they are not waited for. */
function interruption(rollout: Rollout): { readonly noMore: AbortSignal; readonly signal: AbortSignal } {
  const [noMore, stopping] = [new AbortController(), new AbortController()];
  for (const signal of ['SIGINT', 'SIGTERM']) {
    process.on(signal, () => {
      if (noMore.signal.aborted) return stopping.abort();
      noMore.abort();
      const running = [...rollout.running];
      process.stderr.write(
        `holdfast: no other host is begun; waiting for ${running.length === 0 ? 'none' : foldHosts(running)}; once more ends the wait, and their reloads go on\n`,
      );
    });
  }
  return { noMore: noMore.signal, signal: stopping.signal };
}

function count(hosts: number): string {
  return hosts === 1 ? '1 host' : `${hosts} hosts`;
}
