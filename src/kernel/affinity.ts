import { check, declare } from './libc.js';

const getAffinity = declare('int sched_getaffinity(int pid, size_t size, void *mask)');
const setAffinity = declare('int sched_setaffinity(int pid, size_t size, const void *mask)');

/** Room for 8192 CPUs. */
const MASK_BYTES = 1024;

/** Keeps the calling thread on one of the CPUs that it may use: the one with this number, counted round and round. */
export function pinThread(number: number): void {
  const mask = Buffer.alloc(MASK_BYTES);
  check('sched_getaffinity', getAffinity(0, mask.length, mask));
  const cpus = Array.from({ length: MASK_BYTES * 8 }, (_, cpu) => cpu).filter(
    (cpu) => ((mask[cpu >> 3] ?? 0) & (1 << (cpu & 7))) !== 0,
  );
  const cpu = cpus[number % cpus.length] ?? 0;
  mask.fill(0);
  mask[cpu >> 3] = 1 << (cpu & 7);
  check('sched_setaffinity', setAffinity(0, mask.length, mask));
}
