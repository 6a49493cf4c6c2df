import { HoldfastError } from '../errors.js';

const UNITS = { K: 1024, M: 1024 ** 2, G: 1024 ** 3 } as const;

/** Bytes of `512K`, `10M`, `1G`, or of a plain number of bytes. */
export function parseSize(text: string): number {
  const { number, unit } = /^(?<number>\d{1,12})(?<unit>[KMG])?$/i.exec(text)?.groups ?? {};
  if (number === undefined) {
    throw new HoldfastError('ERR_HOLDFAST_OPTION', `"${text}" is no size; write 512K, 10M or 1G`);
  }
  return Number(number) * (unit === undefined ? 1 : UNITS[unit.toUpperCase() as keyof typeof UNITS]);
}
