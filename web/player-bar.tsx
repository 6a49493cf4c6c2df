import type { VNode } from 'preact';
import { describeFrame } from './frames.js';
import type { Player } from './player.js';

/** Says which step the diagram shows, and leads to others. */
export function PlayerBar({ player }: { readonly player: Player }): VNode | null {
  const { run, frame, at, frames, isPlaying, goTo, play, leave } = player;
  if (run === undefined || frame === undefined) return null;
  return (
    <section class="player" aria-label="Step of the lab">
      <p class="player-title">
        <strong>{describeFrame(run.id, frame)}</strong> <code>{frame.step.line}</code>
      </p>
      <div class="buttons">
        <button
          type="button"
          class="small"
          data-action="previous"
          disabled={at === 0}
          onClick={() => goTo(at - 1)}
        >
          previous
        </button>
        <button
          type="button"
          class="small"
          data-action="next"
          disabled={at === frames.length - 1}
          onClick={() => goTo(at + 1)}
        >
          next
        </button>
        <button type="button" class="small" data-action="play" onClick={() => play(!isPlaying)}>
          {isPlaying ? 'pause' : 'play'}
        </button>
        <button type="button" class="small" data-action="leave" onClick={leave}>
          back to the machine
        </button>
      </div>
    </section>
  );
}
