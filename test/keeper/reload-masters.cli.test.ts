import { gunicorn, nginx, nginxReuseport, pythonHttp } from '../support/servers.js';
import { testReloads } from './reloads.js';

testReloads(nginx);
testReloads(nginxReuseport);
testReloads(gunicorn);
testReloads(pythonHttp);
