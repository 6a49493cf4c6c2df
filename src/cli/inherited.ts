import { basename } from 'node:path';
import { openFilesLimit, setOpenFilesLimit } from '../kernel/limits.js';
import { openFiles } from '../kernel/procfs.js';

/**
 * Node raises its soft limit of open files to the hard one when it starts, and what we start would inherit that. The
 * parent's soft limit is what it would have without us, unless somebody set ours apart from the parent's.
 */
export function restoreOpenFilesLimit(): void {
  const [ours, parents] = [openFilesLimit('self'), openFilesLimit(process.ppid)];
  if (ours !== undefined && parents !== undefined && ours.hard === parents.hard) setOpenFilesLimit(parents);
}

/**
 * Whether nohup(1) started us. Node resets every ignored signal when it starts, so the signal's disposition cannot
 * tell; the shell's `_` and nohup's output file can.
 */
export function isUnderNohup(): boolean {
  return (
    basename(process.env._ ?? '') === 'nohup' || [1, 2].some((fd) => basename(linkOf(fd)) === 'nohup.out')
  );
}

function linkOf(fd: number): string {
  return openFiles('self').find((file) => file.fd === fd)?.target ?? '';
}
