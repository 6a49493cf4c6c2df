import { gunicorn } from '../support/servers.js';
import { testKills, testQueueAtKill } from './kills.js';

testKills(gunicorn);
testQueueAtKill(gunicorn);
