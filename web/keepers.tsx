import type { ComponentType, VNode } from 'preact';
import { useState } from 'preact/hooks';
import type { WatchedKeeper } from '../src/watch/view.js';
import type { ActionResult } from '../src/watch/web/wire.js';
import { post, wordsOf } from './api.js';
import type { Ask } from './confirm.js';
import { memo } from './memo.js';
import { Output } from './output.js';

export interface KeepersProps {
  readonly keepers: readonly WatchedKeeper[];
  /** Asks once more before something is done. */
  readonly confirm: (ask: Ask) => void;
  readonly announce: (text: string) => void;
}

/** Keepers of this user, and what can be done with them. */
export const Keepers: ComponentType<KeepersProps> = memo(
  ({ keepers, confirm, announce }: KeepersProps): VNode => {
    if (keepers.length === 0) {
      return (
        <p class="hint">
          No keeper of this user runs here. <code>holdfast run --name shop -- node server.js</code> starts
          one.
        </p>
      );
    }
    return (
      <div class="cards">
        {keepers.map((keeper) => (
          <Keeper key={keeper.name} keeper={keeper} confirm={confirm} announce={announce} />
        ))}
      </div>
    );
  },
);

interface KeeperProps extends Omit<KeepersProps, 'keepers'> {
  readonly keeper: WatchedKeeper;
}

interface Result {
  readonly ok: boolean;
  readonly text: string;
}

const Keeper = memo(({ keeper, confirm, announce }: KeeperProps): VNode => {
  const { name, pid, phase, generation, starts, reload, paused, addresses, workers } = keeper;
  const [result, setResult] = useState<Result | undefined>(undefined);
  const [doing, setDoing] = useState<string | undefined>(undefined);
  const act = async (action: string, body: object = {}): Promise<void> => {
    setDoing(action);
    setResult(undefined);
    const told = await post<ActionResult>(`keepers/${encodeURIComponent(name)}/${action}`, body).catch(
      (error: unknown): Result => ({ ok: false, text: wordsOf(error) }),
    );
    setDoing(undefined);
    setResult(told);
    announce(`${action} ${name}: ${told.text}`);
  };
  // Those of the generation before that still drain are none of them.
  const active = workers.filter((one) => one.generation === generation && one.phase !== 'parked').length;
  const asks: Readonly<Record<string, Omit<Ask, 'action'>>> = {
    reload: {
      title: `Reload ${name}?`,
      text: 'A new generation starts, and the old one ends when the new one is ready. No connection is refused.',
      perform: () => act('reload'),
    },
    restart: {
      title: `Restart ${name}?`,
      text: 'Its server is stopped, then started. Connections wait in the queue meanwhile.',
      perform: () => act('restart'),
    },
    scale: {
      title: `Scale ${name}?`,
      text: 'So many workers are to serve.',
      workers: Math.max(1, active),
      perform: (count) => act('scale', { workers: count }),
    },
  };
  return (
    <article class="card" data-keeper={name}>
      <h3>{name}</h3>
      <dl>
        <Fact name="phase">{paused ? `${phase}, paused` : phase}</Fact>
        <Fact name="generation">{generation}</Fact>
        <Fact name="starts">{starts}</Fact>
        <Fact name="keeper">pid {pid}</Fact>
        {reload !== 'steady' && <Fact name="reload">{reload}</Fact>}
        <Fact name="addresses">
          <span class="mono">{addresses.length === 0 ? '–' : addresses.join(', ')}</span>
        </Fact>
      </dl>
      <ul class="workers" aria-label={`Workers of ${name}`}>
        {workers.map((worker, at) => (
          <li key={worker.pid ?? `new ${at}`} class={worker.phase === 'parked' ? 'standby' : undefined}>
            <span class="mono">{worker.pid === null ? 'being started' : `pid ${worker.pid}`}</span>
            <span>generation {worker.generation}</span>
            <span>{worker.phase === 'parked' ? 'standby' : worker.phase}</span>
          </li>
        ))}
      </ul>
      <div class="buttons">
        {Object.entries(asks).map(([action, ask]) => (
          <button
            key={action}
            type="button"
            data-action={action}
            aria-label={`${action} ${name}`}
            disabled={doing !== undefined}
            onClick={() => confirm({ action, ...ask })}
          >
            {doing === action ? `${action}…` : action}
          </button>
        ))}
      </div>
      {result !== undefined && <p class={result.ok ? 'result' : 'result problem'}>{result.text}</p>}
      <Output name={name} />
    </article>
  );
});

function Fact({ name, children }: { readonly name: string; readonly children: unknown }): VNode {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{children as VNode}</dd>
    </div>
  );
}
