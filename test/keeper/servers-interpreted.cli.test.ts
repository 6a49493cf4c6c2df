import { nodeHttp, pythonHttp } from '../support/servers.js';
import { testKills, testQueueAtKill } from './kills.js';

testKills(nodeHttp);
testQueueAtKill(nodeHttp);

testKills(pythonHttp);
testQueueAtKill(pythonHttp);
