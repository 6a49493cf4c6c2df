import type { VNode } from 'preact';
import { type RuleId, rules } from '../src/model/rules.js';
import type { ScenarioAbout } from '../src/watch/web/wire.js';

const SCENARIOS_MAX = 6;

export interface RuleLinkProps {
  readonly id: RuleId;
  readonly isOpen: boolean;
  readonly toggle: () => void;
}

/** A rule's id, which opens its card. */
export function RuleLink({ id, isOpen, toggle }: RuleLinkProps): VNode {
  return (
    <button type="button" class="link" aria-expanded={isOpen} data-rule={id} onClick={toggle}>
      {id}
    </button>
  );
}

export interface RuleCardProps {
  readonly id: RuleId;
  readonly scenarios: readonly ScenarioAbout[];
  /** Leads to a scenario in the lab. */
  readonly tryIt: (id: string) => void;
}

/** What a rule says, where the kernel decides it, and scenarios that show it. */
export function RuleCard({ id, scenarios, tryIt }: RuleCardProps): VNode {
  const { says, kernel, reached } = rules[id];
  const showing = scenarios.filter((scenario) => scenario.rules.includes(id));
  return (
    <div class="rule-card" data-rule-card={id}>
      <h3>
        <code>{id}</code>
      </h3>
      <p>{says}</p>
      {kernel !== '' && (
        <p class="note">
          The kernel decides it in <code>{kernel}</code>
        </p>
      )}
      {reached === 'source' && (
        <p class="note">Read in the kernel's source, not compared with a live kernel.</p>
      )}
      {showing.length > 0 && (
        <ul class="tries">
          {showing.slice(0, SCENARIOS_MAX).map((scenario) => (
            <li key={scenario.id}>
              <button type="button" class="small" onClick={() => tryIt(scenario.id)}>
                try it<span class="hidden"> in the lab: {scenario.id}</span>
              </button>{' '}
              {scenario.id}, {scenario.title}
            </li>
          ))}
        </ul>
      )}
    </div>
  );
}
