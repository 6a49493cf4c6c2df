import { HoldfastError } from '../errors.js';

/** How many hosts at a time: a number, or a share of all of them. */
export type Batch = number | `${number}%`;

/** A number from 1, or 1% to 100%. @throws {HoldfastError} ERR_HOLDFAST_OPTION */
export function parseBatch(text: string): Batch {
  if (/^[1-9]\d{0,5}$/.test(text)) return Number(text);
  if (/^([1-9]\d?|100)%$/.test(text)) return text as Batch;
  throw new HoldfastError(
    'ERR_HOLDFAST_OPTION',
    `"${text}" is no batch; write how many hosts, 5, or which share, 10%`,
  );
}

/** The hosts in batches, in their order. A share is rounded down, and is one host at least. */
export function batches<T>(hosts: readonly T[], batch: Batch): readonly (readonly T[])[] {
  const checked = parseBatch(`${batch}`);
  const size =
    typeof checked === 'number'
      ? checked
      : Math.max(1, Math.floor((hosts.length * Number.parseInt(checked, 10)) / 100));
  return Array.from({ length: Math.ceil(hosts.length / size) || 1 }, (_, index) =>
    hosts.slice(index * size, (index + 1) * size),
  );
}
