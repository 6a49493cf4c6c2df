import type { FanResult } from '../fan/fan.js';
import { foldHosts } from '../fan/host-list.js';
import { formatDuration } from '../model/duration.js';
import { writeJson } from './fan-json.js';
import { stream } from './stream.js';

interface Style {
  readonly json?: true;
  readonly group?: true;
  readonly diff?: true;
}

const NEWLINE = 0x0a;
/** A line that is longer is written in parts. */
const LINE_MAX = 1 << 20;

/** What people and programs read of a run. Lines of different hosts never mix. */
export class FanOutput {
  readonly #style: Style;
  readonly #total: number;
  readonly #running = new Map<string, number>();
  /** What has come of a line whose end has not. */
  readonly #parts = new Map<string, Buffer>();
  #done = 0;
  #failed = 0;

  constructor(hosts: readonly string[], style: Style) {
    this.#style = style;
    this.#total = hosts.length;
  }

  started(host: string): void {
    this.#running.set(host, performance.now());
    this.#progress();
  }

  async took(host: string, name: 'stdout' | 'stderr', bytes: Buffer): Promise<void> {
    if (this.#isLater || this.#style.json) return;
    const key = `${name} ${host}`;
    const all = Buffer.concat([this.#parts.get(key) ?? Buffer.alloc(0), bytes]);
    const end = all.length > LINE_MAX ? all.length : all.lastIndexOf(NEWLINE) + 1;
    this.#parts.set(key, all.subarray(end));
    await this.#lines(host, name, all.subarray(0, end));
  }

  async ended(result: FanResult): Promise<void> {
    this.#running.delete(result.host);
    this.#done++;
    if (result.status !== 0) this.#failed++;
    if (this.#style.json) await writeJson(result);
    else if (!this.#isLater) await this.#rest(result);
    this.#progress();
  }

  async finish(results: readonly FanResult[]): Promise<void> {
    this.#clear();
    if (this.#style.group) await this.#groups(results);
    if (this.#style.diff) {
      const { writeDifferences } = await import('./fan-diff.js');
      await writeDifferences(groupsOf(results));
    }
    if (this.#style.json) return;
    const closed = results.reduce((sum, { closedFirst }) => sum + closedFirst, 0);
    if (closed > 0)
      process.stderr.write(
        `holdfast: ${closed} of the connections ${closed === 1 ? 'was' : 'were'} closed by this side first\n`,
      );
    const failed = results.filter(({ status }) => status !== 0);
    if (failed.length === 0) return;
    process.stderr.write(
      `holdfast: ${failed.length} of ${this.#total} hosts failed: ${foldHosts(failed.map(({ host }) => host))}\n`,
    );
  }

  /** For whoever wonders how far it is. */
  tellState(): void {
    this.#clear();
    const running = [...this.#running].map(
      ([host, since]) => `${host} for ${formatDuration(performance.now() - since)}`,
    );
    process.stderr.write(
      `holdfast: ${this.#done} of ${this.#total} done, ${this.#failed} failed; running: ${running.join(', ') || 'none'}; Ctrl-C again ends all\n`,
    );
  }

  async #rest(result: FanResult): Promise<void> {
    for (const name of ['stdout', 'stderr'] as const) {
      const key = `${name} ${result.host}`;
      const rest = this.#parts.get(key);
      this.#parts.delete(key);
      if (rest !== undefined && rest.length > 0)
        await this.#lines(result.host, name, Buffer.concat([rest, Buffer.of(NEWLINE)]));
    }
    const trouble = troubleOf(result);
    if (trouble !== undefined) process.stderr.write(`${result.host}: holdfast: ${trouble}\n`);
  }

  async #lines(host: string, name: 'stdout' | 'stderr', bytes: Buffer): Promise<void> {
    if (bytes.length === 0) return;
    this.#clear();
    const prefix = Buffer.from(`${host}: `);
    const parts: Buffer[] = [];
    for (let at = 0; at < bytes.length; ) {
      const end = bytes.indexOf(NEWLINE, at) + 1 || bytes.length;
      parts.push(prefix, bytes.subarray(at, end));
      at = end;
    }
    if (name === 'stdout') await stream(Buffer.concat(parts));
    else await told(Buffer.concat(parts));
  }

  /** Hosts with the same output together, in the order of the list. */
  async #groups(results: readonly FanResult[]): Promise<void> {
    for (const group of groupsOf(results)) {
      await stream(`---- ${titleOf(group)}\n`);
      for (const output of [group[0].stdout, group[0].stderr]) {
        for await (const bytes of output.stream()) await stream(bytes as Buffer);
      }
    }
  }

  /** Whether all is told at the end. */
  get #isLater(): boolean {
    return this.#style.group === true || this.#style.diff === true;
  }

  #progress(): void {
    if (!process.stderr.isTTY || !process.stdout.isTTY || this.#done === this.#total) return;
    const failed = this.#failed === 0 ? '' : `, ${this.#failed} failed`;
    process.stderr.write(`\r\x1b[K${this.#done} of ${this.#total}${failed}, ${this.#running.size} running`);
  }

  #clear(): void {
    if (process.stderr.isTTY && process.stdout.isTTY) process.stderr.write('\r\x1b[K');
  }
}

/** Hosts with the same outcome and output. */
export type Group = readonly [FanResult, ...FanResult[]];

function groupsOf(results: readonly FanResult[]): readonly Group[] {
  const groups = new Map<string, [FanResult, ...FanResult[]]>();
  for (const result of results) {
    const { status, stdout, stderr } = result;
    const key = JSON.stringify([status, troubleOf(result), stdout.digest, stderr.digest]);
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [result]);
    else group.push(result);
  }
  return [...groups.values()];
}

/** `web[1-3] (3): exit 1` */
export function titleOf(group: Group): string {
  const trouble = troubleOf(group[0]);
  const names = foldHosts(group.map(({ host }) => host));
  return `${names} (${group.length})${trouble === undefined ? '' : `: ${trouble}`}`;
}

function troubleOf({ status, error }: FanResult): string | undefined {
  if (error !== null) return `${error.text} [${error.phase}]`;
  return status === 0 ? undefined : `exit ${status}`;
}

/** To stderr, no faster than it is read. */
function told(bytes: Buffer): Promise<void> {
  return new Promise((resolve) => {
    process.stderr.write(bytes, () => resolve());
  });
}
