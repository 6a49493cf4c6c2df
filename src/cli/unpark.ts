import { askNamed, keeperName } from './ask-named.js';

/** `holdfast unpark`: exit 0 when a standby serves now, 1 when none waits. */
export async function unpark(given: string | undefined): Promise<void> {
  const name = keeperName(given);
  const { ok } = (await askNamed(name, '/unpark')) as { readonly ok: boolean };
  if (ok) return;
  process.stderr.write(`holdfast: no standby of "${name}" waits; holdfast status tells which do\n`);
  process.exitCode = 1;
}
