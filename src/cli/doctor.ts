import { examine } from '../doctor/examine.js';
import type { Report } from '../doctor/report.js';

/** `holdfast doctor`: exit 0 when `holdfast run` can work on this machine, 1 when it cannot. */
export async function doctor(options: { readonly json?: boolean }): Promise<void> {
  const report = await examine(async () => {
    const [{ stateDirectory }, { WORKER_VARIABLE }] = await Promise.all([
      import('../keeper/state.js'),
      import('../keeper/tree.js'),
    ]);
    return { stateDirectory, underKeeper: process.env[WORKER_VARIABLE] !== undefined };
  });
  process.stdout.write(options.json ? `${JSON.stringify(report, null, 2)}\n` : describe(report));
  process.exitCode = report.runs ? 0 : 1;
}

function describe({ holdfast, node, parts, runs }: Report): string {
  const width = Math.max(...parts.map((part) => part.name.length));
  const lines = parts.map(({ works, name, found, remedy }) => {
    const text = remedy === undefined ? found : `${found}; to mend it: ${remedy}`;
    return `${works.padEnd('limited'.length)}  ${name.padEnd(width)}  ${text}`;
  });
  const missing = parts.filter((part) => part.required && part.works === 'no').map((part) => part.name);
  const verdict = runs ? 'holdfast run works here' : `holdfast run cannot work here: ${missing.join(', ')}`;
  return `${[`holdfast ${holdfast}, Node ${node}`, ...lines, verdict].join('\n')}\n`;
}
