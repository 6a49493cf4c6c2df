import { goHttp, staticHttp } from '../support/servers.js';
import { testKills, testQueueAtKill } from './kills.js';

testKills(goHttp);
testQueueAtKill(goHttp);

testKills(staticHttp);
testQueueAtKill(staticHttp);
