import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { askingSession } from '../../src/cli/asking-session.ts';

// By which connection whoever asks came: as /proc shows it.

const SSH = '10.1.2.3 50000 10.1.2.1 22';

interface Process {
  readonly parent: number;
  readonly environment: readonly string[];
}

function proc(t: Test, processes: Readonly<Record<string, Process>>, login: string): string {
  const folder = mkdtempSync(join(tmpdir(), 'sluice-proc-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  for (const [pid, { parent, environment }] of Object.entries(processes)) {
    mkdirSync(join(folder, pid));
    writeFileSync(join(folder, pid, 'environ'), environment.map((one) => `${one}\0`).join(''));
    writeFileSync(join(folder, pid, 'stat'), `${pid} (odd ) name) S ${parent} 1 1 0 -1`);
  }
  writeFileSync(join(folder, 'self', 'sessionid'), login);
  return folder;
}

const sudo = (connection: string): Readonly<Record<string, Process>> => ({
  self: { parent: 30, environment: ['SUDO_USER=ada'] },
  30: { parent: 20, environment: ['HOME=/home/ada', `SSH_CONNECTION=${connection}`] },
  20: { parent: 1, environment: ['SSH_CONNECTION=another'] },
});

t.test('that of the nearest process that knows it', async (t) => {
  t.equal(askingSession(proc(t, sudo(SSH), '7')), SSH, 'sudo itself still has it');
  t.equal(askingSession(proc(t, sudo(''), '7')), 'another');
  const own = { self: { parent: 30, environment: [`SSH_CONNECTION=${SSH}`] } };
  t.equal(askingSession(proc(t, own, '7')), SSH);
});

t.test('or the login that the kernel counted, or none', async (t) => {
  const console = { self: { parent: 30, environment: [] }, 30: { parent: 1, environment: [] } };
  t.equal(askingSession(proc(t, console, '7')), 'login 7');
  t.equal(askingSession(proc(t, console, '4294967295')), undefined);
  t.equal(askingSession(proc(t, { self: { parent: 99, environment: [] } }, 'x')), undefined);
  t.equal(askingSession(join(tmpdir(), 'sluice-no-such-folder')), undefined);
  const endless = { self: { parent: 30, environment: [] }, 30: { parent: 30, environment: [] } };
  t.equal(askingSession(proc(t, endless, '4294967295')), undefined, 'and it ends');
});
