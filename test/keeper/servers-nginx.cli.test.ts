import { nginx, nginxReuseport } from '../support/servers.js';
import { testKills, testQueueAtKill } from './kills.js';

testKills(nginx);
testQueueAtKill(nginx);

testKills(nginxReuseport);
testQueueAtKill(nginxReuseport);
