import { javaHttp } from '../support/servers.js';
import { testKills, testQueueAtKill } from './kills.js';

testKills(javaHttp);
testQueueAtKill(javaHttp);
