import type { VNode } from 'preact';
import { useEffect, useRef } from 'preact/hooks';
import type { ScenarioAbout } from '../src/watch/web/wire.js';
import type { Frame } from './frames.js';
import type { Player } from './player.js';
import { StageTable } from './stage-table.js';

export interface LabStepsProps {
  readonly player: Player;
  readonly scenario: ScenarioAbout | undefined;
}

/** What came out of each step of the scenario that was played. */
export function LabSteps({ player, scenario }: LabStepsProps): VNode {
  const { run, frames, at, goTo } = player;
  const list = useRef<HTMLOListElement>(null);
  // biome-ignore lint/correctness/useExhaustiveDependencies: the step that is shown stays in sight when it is another one.
  useEffect(() => keepInSight(list.current), [run, at]);
  if (run === undefined) {
    return (
      <div id="lab-steps" class="lab-steps">
        <p class="hint">
          Run a scenario: it is played on this kernel in network namespaces of its own, and on the model. Its
          steps are shown here and in the diagram.
        </p>
      </div>
    );
  }
  return (
    <div id="lab-steps" class="lab-steps" data-verdict={run.verdict}>
      <h3>
        <code>{run.id}</code> {run.verdict}
      </h3>
      {scenario?.claim != null && <p>Claim: {scenario.claim}</p>}
      {!run.agrees && <p class="problem">The model and the kernel do not agree.</p>}
      {!run.asExpected && (
        <p class="note">Not all came out as on the kernel that the scenarios were verified on.</p>
      )}
      <ol class="steps" ref={list}>
        {frames.map((frame, index) => (
          <StepRow
            // biome-ignore lint/suspicious/noArrayIndexKey: a step is its place.
            key={index}
            frame={frame}
            isShown={index === at}
            show={() => goTo(index)}
          />
        ))}
      </ol>
      <h4>Sockets after the step</h4>
      <StageTable label="Sockets after the step" sockets={frames[at]?.step.sockets ?? []} />
    </div>
  );
}

/** Without moving the page. */
function keepInSight(list: HTMLElement | null): void {
  const step = list?.querySelector<HTMLElement>('.shown');
  if (list === null || step === null || step === undefined) return;
  const { top, bottom } = step.getBoundingClientRect();
  const box = list.getBoundingClientRect();
  if (top < box.top) list.scrollTop -= box.top - top;
  if (bottom > box.bottom) list.scrollTop += bottom - box.bottom;
}

interface StepRowProps {
  readonly frame: Frame;
  readonly isShown: boolean;
  readonly show: () => void;
}

function StepRow({ frame, isShown, show }: StepRowProps): VNode {
  const { line, kernel, model, claimed, rule } = frame.step;
  return (
    <>
      {frame.number === 1 && frame.cases > 1 && (
        <li class="case">
          {frame.when}
          {frame.holds !== null && (
            <span class="tag">{frame.holds ? 'the claim holds' : 'the claim does not hold'}</span>
          )}
        </li>
      )}
      <li class={isShown ? 'step shown' : 'step'}>
        <button type="button" class="step-button" aria-current={isShown ? 'step' : undefined} onClick={show}>
          <span class="step-number">{frame.number}</span>
          <code>{line}</code>
          <span class={`outcome ${kernel === 'ok' ? 'works' : 'fails'}`}>
            {kernel}
            {model !== kernel && `, model: ${model}`}
            {claimed !== null && `, claimed ${claimed}`}
          </span>
          {rule !== null && rule !== 'done' && <span class="note">{rule}</span>}
        </button>
      </li>
    </>
  );
}
