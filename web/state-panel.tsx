import type { VNode } from 'preact';
import type { WatchSnapshot } from '../src/watch/view.js';
import type { StageSocket } from '../src/watch/web/wire.js';
import { DrainChart } from './drain-chart.js';
import { SocketTable } from './socket-table.js';
import { StageTable } from './stage-table.js';
import { accessibleName, countsOf, MEANINGS, type NodeId, titleOf } from './states.js';
import { describeUnclosed, programsOf } from './words.js';

export interface StatePanelProps {
  readonly selected: NodeId | undefined;
  readonly snapshot: WatchSnapshot | undefined;
  /** Of a scenario's step that the diagram shows; undefined: it shows the machine. */
  readonly stage: readonly StageSocket[] | undefined;
}

/** The sockets of the state that is selected in the diagram. */
export function StatePanel({ selected, snapshot, stage }: StatePanelProps): VNode {
  return (
    <section id="state-panel" class="panel" aria-labelledby="state-title">
      <h2 id="state-title">{selected === undefined ? 'State' : <code>{titleOf(selected)}</code>}</h2>
      {selected === undefined ? (
        <p class="hint">
          Select a state in the diagram to see its sockets: who has them, their queues and timers.
        </p>
      ) : (
        <>
          <p class="meaning">{MEANINGS[selected]}</p>
          {stage !== undefined && selected === 'ACCEPT_QUEUE' ? (
            <p class="hint">Accept queues of a scenario are not counted.</p>
          ) : stage !== undefined ? (
            <StageTable
              label={`Sockets of the lab in ${titleOf(selected)}`}
              sockets={stage.filter(({ state }) => state === selected)}
            />
          ) : (
            snapshot !== undefined && <Machine selected={selected} snapshot={snapshot} />
          )}
        </>
      )}
    </section>
  );
}

interface MachineProps {
  readonly selected: NodeId;
  readonly snapshot: WatchSnapshot;
}

function Machine({ selected, snapshot }: MachineProps): VNode {
  const { sockets, processes, atMs, timeWaitEnds, left } = snapshot;
  if (selected === 'TIME_WAIT') return <DrainChart ends={timeWaitEnds} />;
  const isQueue = selected === 'ACCEPT_QUEUE';
  const rows = sockets.filter(({ state, ownership }) =>
    isQueue ? ownership === 'queue' && state !== 'SYN_RECV' : state === selected,
  );
  const count = countsOf(snapshot)[selected];
  return (
    <>
      <Unclosed selected={selected} snapshot={snapshot} />
      {rows.length === 0 ? (
        <p class="hint">
          {count === 0 ? 'None now.' : `${accessibleName(selected, count)}; none of them is listed.`}
        </p>
      ) : (
        <SocketTable key={selected} rows={rows} processes={processes} atMs={atMs} name={selected} />
      )}
      {left > 0 && (
        <p class="more">{left} changes of sockets are still to be told here; the counts have them all.</p>
      )}
    </>
  );
}

/** Who does not close, and what nobody has any more. */
function Unclosed({ selected, snapshot }: MachineProps): VNode | null {
  const isWaiting = selected === 'FIN_WAIT2';
  if (!isWaiting && selected !== 'CLOSE_WAIT') return null;
  const { unclosed, orphans, processes } = snapshot;
  const told = unclosed.filter(({ closeWait, finWait2 }) => (isWaiting ? finWait2 > 0 : closeWait > 0));
  const programs = programsOf(processes);
  return (
    <>
      {told.length > 0 && (
        <ul class="unclosed">
          {told.map((one) => (
            <li key={one.pid}>{describeUnclosed(one, programs)}</li>
          ))}
        </ul>
      )}
      {isWaiting && orphans > 0 && (
        <p>
          {orphans === 1 ? '1 is an orphan' : `${orphans} are orphans`}: their processes have closed them, and
          the kernel ends them when tcp_fin_timeout is over. They are counted and not listed.
        </p>
      )}
    </>
  );
}
