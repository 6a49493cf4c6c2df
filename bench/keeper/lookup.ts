import { compiled } from '../support/compiled.js';
import type { Part } from './part.js';
import { bare, HOLDFAST, type ServerCommand, underHoldfast } from './peers.js';
import { countRequests, describeRequests, type RequestSamples } from './requests.js';

/** Requests per second of a server that looks a name up for each: glibc binds a netlink socket every time. */
export const lookup: Part<RequestSamples> = {
  title: 'A name look-up per request',
  needs: ['wrk', 'cc'],
  needsPm2: false,
  measure: async (options) => {
    const program = await compiled('lookup');
    const server: ServerCommand = (port) => [program, `${port}`];
    return countRequests([bare(server), bare(server, 'bare again'), underHoldfast(server)], options);
  },
  describe: (samples) =>
    describeRequests('a look-up server in C', samples, {
      [HOLDFAST]: { 'keep-alive': 0.98, 'a connection each': 0.98 },
    }),
};
