import { createTwoFilesPatch } from 'diff';
import type { FanResult } from '../fan/fan.js';
import { type Group, titleOf } from './fan-output.js';
import { stream } from './stream.js';

/** More than this is not compared line by line: it would take too much memory. */
const BYTES_MAX = 16 << 20;
/** Nor what takes longer: outputs without much in common. */
const TIME_MAX_MS = 10_000;

/** Tells how the outputs differ from the most common one, which itself is not told. Without a difference it says nothing. */
export async function writeDifferences(groups: readonly Group[]): Promise<void> {
  const [reference, ...others] = byNumber(groups);
  if (reference === undefined) return;
  if (hasFailed(reference)) await stream(`---- ${titleOf(reference)}\n`);
  for (const group of others)
    await stream(hasFailed(group) ? `---- ${titleOf(group)}\n` : difference(reference, group));
}

/** The most hosts first, but those without an output last. */
function byNumber(groups: readonly Group[]): readonly Group[] {
  return groups.toSorted((a, b) => Number(hasFailed(a)) - Number(hasFailed(b)) || b.length - a.length);
}

/** Whether its output is none of the command's, or not the whole of it. */
function hasFailed([{ error }]: Group): boolean {
  return error !== null;
}

function difference(reference: Group, group: Group): string {
  const titles = [titleOf(reference), titleOf(group)] as const;
  const [before, after] = [textOf(reference[0]), textOf(group[0])];
  const patch =
    before === undefined || after === undefined
      ? undefined
      : createTwoFilesPatch(...titles, before, after, undefined, undefined, {
          timeout: TIME_MAX_MS,
          headerOptions: { includeIndex: false, includeUnderline: false, includeFileHeaders: true },
        });
  return (
    patch ??
    `--- ${titles[0]}\n+++ ${titles[1]}\nThe outputs differ, and are too large or no text: ${sizeOf(reference)} and ${sizeOf(group)} bytes\n`
  );
}

/** What --group shows; undefined when it is too much, or no text. */
function textOf({ stdout, stderr }: FanResult): string | undefined {
  if (stdout.bytes + stderr.bytes > BYTES_MAX) return undefined;
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(
      Buffer.concat([stdout.buffer(), stderr.buffer()]),
    );
  } catch {
    // Not UTF-8.
    return undefined;
  }
}

function sizeOf([{ stdout, stderr }]: Group): number {
  return stdout.bytes + stderr.bytes;
}
