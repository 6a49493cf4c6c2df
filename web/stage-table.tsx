import type { VNode } from 'preact';
import type { StageSocket } from '../src/watch/web/wire.js';
import { ScrollBox } from './scroll-box.js';

export interface StageTableProps {
  readonly label: string;
  readonly sockets: readonly StageSocket[];
}

/** Sockets of a scenario's step. */
export function StageTable({ label, sockets }: StageTableProps): VNode {
  if (sockets.length === 0) return <p class="hint">No sockets at this step.</p>;
  return (
    <ScrollBox label={label}>
      <table>
        <thead>
          <tr>
            <th scope="col">State</th>
            <th scope="col">Local</th>
            <th scope="col">Peer</th>
          </tr>
        </thead>
        <tbody>
          {sockets.map(({ state, local, peer }, at) => (
            // biome-ignore lint/suspicious/noArrayIndexKey: two of a stage may be alike.
            <tr key={at}>
              <td>
                <span class="dot" data-of={state} /> {state}
              </td>
              <td class="mono">{local}</td>
              <td class="mono">{peer ?? '–'}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </ScrollBox>
  );
}
