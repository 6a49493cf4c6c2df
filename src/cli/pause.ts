import { askNamed, keeperName } from './ask-named.js';
import { takenOver, tellOutcome } from './reload.js';

/** `holdfast pause`: the processes of the server are stopped where they are; clients wait. */
export async function pause(given: string | undefined): Promise<void> {
  await askNamed(keeperName(given), '/pause');
}

/** `holdfast resume`: they go on. */
export async function resume(given: string | undefined): Promise<void> {
  await askNamed(keeperName(given), '/resume');
}

/** `holdfast release`: exit 0 when the server has ended and its ports are free, 1 when that cannot be now. */
export async function release(given: string | undefined): Promise<void> {
  const name = keeperName(given);
  tellOutcome(
    await askNamed(name, '/release', 0),
    () => `the ports are free; holdfast take ${name} ends that`,
    'release',
  );
}

/** `holdfast take`: exit 0 when the server serves again. */
export async function take(given: string | undefined): Promise<void> {
  tellOutcome(await askNamed(keeperName(given), '/take', 0), takenOver, 'take');
}
