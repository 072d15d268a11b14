import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { freeTcpPort } from '../support/ports.ts';
import { REPOSITORY, Running, SLUICE } from '../support/process.ts';
import { until } from '../support/wait.ts';

t.test(
  'the demo runs the shipped gateway.yaml: every device is heard, and Ctrl-C stops everything',
  async (t) => {
    const folder = mkdtempSync(join(tmpdir(), 'sluice-demo-'));
    t.teardown(() => rmSync(folder, { recursive: true, force: true }));
    const port = await freeTcpPort();
    const shipped = readFileSync(join(REPOSITORY, 'gateway.yaml'), 'utf8');
    // The shipped file as it is, but for the port, which another gateway on this machine may have.
    const file = join(folder, 'gateway.yaml');
    writeFileSync(file, shipped.replace('127.0.0.1:8883', `127.0.0.1:${port}`));
    copyFileSync(join(REPOSITORY, 'gateway.schema.json'), join(folder, 'gateway.schema.json'));

    const demo = new Running(SLUICE, ['demo', file]);
    t.teardown(async () => demo.stop('SIGKILL'));
    await demo.says(new RegExp(`mqtts://127\\.0\\.0\\.1:${port}`));
    const subscribe = await demo.says(/^ {2}mosquitto_sub /);
    const devices = [...shipped.matchAll(/^ {2}([a-z0-9-]+): \{ class: [a-z-]+, at: "(?:modbus|coap)/gm)].map(
      ([, name = '']) => name,
    );
    t.ok(devices.length >= 8, 'a small plant');
    for (const device of devices) {
      await until(
        `a good value of ${device}`,
        () => demo.out.find((line) => line.startsWith(`telemetry/${device} #`) && !/ bad: /.test(line)),
        60_000,
      );
    }

    const seen = execFileSync('sh', ['-c', `${subscribe} -C 3 -W 30`], { encoding: 'utf8' });
    t.match(seen, /^sluice\/[a-z0-9-]+\/(telemetry|status)/m, 'the printed line subscribes as it stands');
    const command = await demo.says(/^ {2}mosquitto_pub /);
    execFileSync('sh', ['-c', command]);
    await demo.says(/^result\/.*"ok":true/);

    t.equal(await demo.stop('SIGINT'), 0, 'Ctrl-C ends it in order');
    t.match(demo.out.at(-1), /Stopped/);
    t.notMatch(demo.err.join('\n'), /"level":"error"/, 'nothing went wrong');
  },
);
