import type { Part } from './part.js';
import {
  bare,
  HOLDFAST,
  heldByHoldfast,
  nginxServer,
  nodeCluster,
  nodeGivenItsFd,
  nodeServer,
  nodeUnderPm2,
  nodeUnderStartServer,
  underHoldfast,
} from './peers.js';
import { countRequests, describeRequests, type RatioTargets, type RequestSamples } from './requests.js';

/** Requests per second that a server answers, bare and kept. */
export const throughput: Part<ThroughputFigures> = {
  title: 'Throughput',
  needs: ['wrk', 'nginx', 'start_server'],
  needsPm2: true,
  measure: async (options) => ({
    node: await countRequests(nodeCandidates, options),
    nginx: await countRequests(nginxCandidates, options),
  }),
  describe: ({ node, nginx }) => {
    const parts = [
      describeRequests('Node', node, nodeTargets),
      describeRequests('nginx', nginx, nginxTargets),
    ];
    return {
      text: parts.map(({ text }) => text).join('\n\n'),
      targets: parts.flatMap(({ targets }) => targets),
    };
  },
};

export interface ThroughputFigures {
  readonly node: RequestSamples;
  readonly nginx: RequestSamples;
}

const nodeTargets: RatioTargets = {
  [HOLDFAST]: { 'keep-alive': 0.98, 'a connection each': 0.98 },
  [nodeGivenItsFd.name]: { 'keep-alive': 0.99, 'a connection each': 0.99 },
};

const nginxTargets: RatioTargets = {
  [HOLDFAST]: { 'keep-alive': 0.98, 'a connection each': 0.93 },
};

const nodeCandidates = [
  bare(nodeServer),
  bare(nodeServer, 'bare again'),
  heldByHoldfast,
  nodeGivenItsFd,
  nodeUnderPm2,
  nodeCluster,
  nodeUnderStartServer,
];

const nginxCandidates = [bare(nginxServer), bare(nginxServer, 'bare again'), underHoldfast(nginxServer)];
