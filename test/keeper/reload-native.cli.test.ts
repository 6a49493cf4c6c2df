import { goHttp, javaHttp, staticHttp } from '../support/servers.js';
import { testReloads } from './reloads.js';

testReloads(goHttp, '/?delay=20');
testReloads(javaHttp, '/?delay=20');
testReloads(staticHttp);
