import { errorCode } from '../errors.js';
import { askKeeper, followKeeper } from '../keeper/control.js';
import type { KeeperEvent, MissedEvents } from '../keeper/event-log.js';
import { stateFiles } from '../keeper/state.js';
import { keeperName, ofNamed } from './ask-named.js';
import { describeNotice } from './notice-log.js';
import { stream } from './stream.js';

export interface EventsOptions {
  readonly follow?: boolean;
  readonly json?: boolean;
}

/** `holdfast events`: what a keeper has told last; with `follow` also what comes, until it ends. */
export async function events(given: string | undefined, options: EventsOptions): Promise<void> {
  const name = keeperName(given);
  const { control } = stateFiles(name);
  const print = (event: KeeperEvent | MissedEvents): Promise<void> =>
    stream(`${options.json ? JSON.stringify(event) : describe(event)}\n`);
  await ofNamed(name, async () => {
    if (options.follow) {
      try {
        for await (const line of followKeeper(control, '/events?follow')) await print(JSON.parse(line));
      } catch (error) {
        if (errorCode(error) !== 'ERR_HOLDFAST_KEEPER_ENDED') throw error;
        process.stderr.write(`holdfast: the keeper "${name}" was killed\n`);
        process.exitCode = 1;
      }
    } else {
      for (const event of (await askKeeper(control, 'GET', '/events')) as KeeperEvent[]) await print(event);
    }
  });
}

function describe(event: KeeperEvent | MissedEvents): string {
  const text =
    event.type === 'missed' ? `${event.count} events came faster than they were read` : describeNotice(event);
  return `${new Date(event.time).toISOString()} ${text}`;
}
