import type { ComponentType, VNode } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';
import type { ScenarioAbout, ScenarioRun } from '../src/watch/web/wire.js';
import { post, wordsOf } from './api.js';
import { LabSteps } from './lab-steps.js';
import { memo } from './memo.js';
import type { Player } from './player.js';
import { RunButton } from './run-button.js';
import { ScrollBox } from './scroll-box.js';

export interface LabProps {
  readonly scenarios: readonly ScenarioAbout[];
  /** Why there are none. */
  readonly problem: string | undefined;
  readonly player: Player;
  /** A scenario to open; another object for each time. */
  readonly wanted: { readonly id: string } | undefined;
  readonly announce: (text: string) => void;
}

/** Scenarios of the lab: what people say of sockets, tried on this kernel. */
export const Lab: ComponentType<LabProps> = memo((props) => {
  const { scenarios, problem, player, wanted, announce } = props;
  const [text, setText] = useState('');
  const [open, setOpen] = useState<string | undefined>(undefined);
  const [running, setRunning] = useState<{ readonly id: string; readonly sinceMs: number } | undefined>(
    undefined,
  );
  const [failed, setFailed] = useState<{ readonly id: string; readonly text: string } | undefined>(undefined);
  const list = useRef<HTMLUListElement>(null);
  useEffect(() => {
    if (wanted === undefined) return;
    setText('');
    setOpen(wanted.id);
    // After the list is whole again.
    window.setTimeout(() => {
      const item = list.current?.querySelector(`[data-scenario="${CSS.escape(wanted.id)}"]`);
      item?.scrollIntoView({ block: 'nearest' });
      item?.querySelector<HTMLElement>('.scenario-head')?.focus();
    });
  }, [wanted]);
  const { show } = player;
  const run = async (id: string): Promise<void> => {
    setFailed(undefined);
    setRunning({ id, sinceMs: Date.now() });
    try {
      const result = await post<ScenarioRun>(`scenarios/${encodeURIComponent(id)}/run`);
      announce(`${id}: ${result.verdict}. The diagram shows its steps.`);
      show(result);
    } catch (error) {
      setFailed({ id, text: wordsOf(error) });
      announce(wordsOf(error));
    }
    setRunning(undefined);
  };
  const found = scenarios.filter((scenario) => hasText(scenario, text.trim().toLowerCase()));
  return (
    <>
      <label class="filter">
        Filter
        <input
          type="search"
          value={text}
          placeholder="id, title, claim, rule"
          onInput={({ currentTarget }) => setText(currentTarget.value)}
        />
      </label>
      {problem !== undefined && <p class="problem">{problem}</p>}
      <div class="lab-columns">
        <ul class="scenarios" ref={list}>
          {found.map((scenario) => (
            <Scenario
              key={scenario.id}
              scenario={scenario}
              isOpen={open === scenario.id}
              toggle={() => setOpen(open === scenario.id ? undefined : scenario.id)}
              run={() => run(scenario.id)}
              runningSinceMs={running?.id === scenario.id ? running.sinceMs : undefined}
              isBusy={running !== undefined}
              failed={failed?.id === scenario.id ? failed.text : undefined}
            />
          ))}
          {found.length === 0 && problem === undefined && <li class="hint">No scenario has this text.</li>}
        </ul>
        <LabSteps player={player} scenario={scenarios.find(({ id }) => id === player.run?.id)} />
      </div>
    </>
  );
});

function hasText({ id, title, claim, rules }: ScenarioAbout, wanted: string): boolean {
  return wanted === '' || [id, title, claim ?? '', ...rules].join('\n').toLowerCase().includes(wanted);
}

interface ScenarioProps {
  readonly scenario: ScenarioAbout;
  readonly isOpen: boolean;
  readonly toggle: () => void;
  readonly run: () => void;
  /** Undefined: it is not being played. */
  readonly runningSinceMs: number | undefined;
  readonly isBusy: boolean;
  readonly failed: string | undefined;
}

function Scenario({ scenario, isOpen, toggle, run, runningSinceMs, isBusy, failed }: ScenarioProps): VNode {
  const { id, title, slow, playable } = scenario;
  return (
    <li data-scenario={id}>
      <div class="scenario-line">
        <button type="button" class="scenario-head" aria-expanded={isOpen} onClick={toggle}>
          <code>{id}</code> <span>{title}</span>
        </button>
        {slow && <span class="tag">takes minutes</span>}
        {!playable && <span class="tag">needs root</span>}
        <RunButton name={id} sinceMs={runningSinceMs} isDisabled={isBusy || !playable} run={run} />
      </div>
      {isOpen && <Story scenario={scenario} />}
      {failed !== undefined && <p class="problem">{failed}</p>}
    </li>
  );
}

const Story = memo(
  ({ scenario: { claim, why, source, depends, cases } }: { readonly scenario: ScenarioAbout }) => (
    <div class="story">
      {claim !== null && (
        <p>
          <b>Claim.</b> {claim}
        </p>
      )}
      {why !== null && (
        <p>
          <b>Why.</b> {why}
        </p>
      )}
      {depends !== null && (
        <p>
          <b>It depends</b> on {depends}.
        </p>
      )}
      <p class="note">From: {source}</p>
      {cases.map(({ when, steps }) => (
        <details key={when}>
          <summary>{when === '' ? 'Steps' : when}</summary>
          <ScrollBox label="Steps">
            <pre>{steps.join('\n')}</pre>
          </ScrollBox>
        </details>
      ))}
    </div>
  ),
);
