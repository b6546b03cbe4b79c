// N of Node's eventsource (npm install eventsource): counts events, and what they cost. See bench/clients.sh.
import { createRequire } from 'node:module';
const require = createRequire(process.cwd() + '/');
const { EventSource } = require('eventsource');
const [url, count, length] = [process.argv[2], Number(process.argv[3]), Number(process.argv[4])];
const wait = (seconds) => new Promise((done) => setTimeout(done, seconds * 1000));
const cpu = () => { const c = process.cpuUsage(); return c.user + c.system; };
let events = 0;
const warm = new EventSource(url);
await wait(0.5);
global.gc?.();
const before = process.memoryUsage().rss;
const all = Array.from({ length: count }, () => { const s = new EventSource(url); s.onmessage = () => { events++; }; return s; });
await wait(5);
const began = cpu();
events = 0;
await wait(length);
const took = cpu() - began;
console.log(`${count} clients: ${(events / length).toFixed(0)} events/s, ${(took / events).toFixed(2)} us of CPU an event, ` +
    `${((process.memoryUsage().rss - before) / 1024 / count).toFixed(1)} KiB a client`);
all.forEach((s) => s.close());
warm.close();
process.exit(0);
