import { Component, type ComponentType, type VNode } from 'preact';

/** A component that is rendered again only when one of its properties is another one. */
export function memo<P extends object>(draw: (props: P) => VNode | null): ComponentType<P> {
  return class extends Component<P> {
    override shouldComponentUpdate(next: Readonly<P>): boolean {
      return differs(this.props, next);
    }

    override render(): VNode | null {
      const Draw = draw;
      return <Draw {...this.props} />;
    }
  };
}

type Properties = Readonly<Record<string, unknown>>;

function differs(before: object, after: object): boolean {
  const [old, now] = [before as Properties, after as Properties];
  for (const name in old) if (old[name] !== now[name]) return true;
  for (const name in now) if (!(name in old)) return true;
  return false;
}
