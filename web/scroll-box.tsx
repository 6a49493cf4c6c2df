import type { ComponentChildren, VNode } from 'preact';

export interface ScrollBoxProps {
  readonly label: string;
  /** Whether it scrolls down too. */
  readonly isTall?: boolean;
  readonly children: ComponentChildren;
}

/** Around a table that may be wider than the page. */
export function ScrollBox({ label, isTall = false, children }: ScrollBoxProps): VNode {
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls can be reached by the keyboard.
    <section class={isTall ? 'table tall' : 'table'} aria-label={label} tabIndex={0}>
      {children}
    </section>
  );
}
