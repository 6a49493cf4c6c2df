import { nodeHttp, pythonThreads } from '../support/servers.js';
import { testReloads } from './reloads.js';

testReloads(nodeHttp, '/?delay=20');
testReloads(pythonThreads, '/?delay=20');
