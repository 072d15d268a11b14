import t from 'tap';
import { run as quarantine, runRelease as release } from '../../src/cli/quarantine.ts';
import { sluice } from '../e2e/sluice.ts';

// What somebody in a hurry types: a mistake is named, and changes nothing.

t.test('a word too many, or none, is named', async (t) => {
  const because = ['--because', 'x'];
  const wrong = [
    [quarantine, ['a', 'b', 'c'], /^quarantine takes one device and perhaps a file, and nothing else: b c$/],
    [quarantine, ['a', 'b', 'gateway.yaml', ...because], /nothing else: b$/],
    [quarantine, ['a'], /^quarantine wants a reason: --because/],
    [release, [], /^release wants a device/],
    [release, ['gateway.yaml'], /^release wants a device/],
    [release, ['a', 'b\u001b[2J', 'c'], /^release takes one device .*: b\\u001b\[2J c$/],
  ] as const;
  for (const [run, args, message] of wrong) {
    const command = run === quarantine ? 'quarantine' : 'release';
    const remedy = `./sluice ${command} --help tells more`;
    await t.rejects(run(args), { code: 'USAGE', message, remedy }, `${command} ${args.join(' ')}`);
  }
});

t.test('a program that asked for JSON gets an answer where nothing was done, too', async (t) => {
  const file = `${t.testdir({})}/none.yaml`;
  for (const [command, status, code] of [
    [['quarantine', 'press-1', '--because', 'x', file], 78, 'CONFIG_INVALID'],
    [['quarantine', file], 78, 'CONFIG_INVALID'],
    [['release'], 64, 'USAGE'],
    [['firewall', 'audit', file], 78, 'CONFIG_INVALID'],
  ] as const) {
    const ran = sluice(...command, '--json');
    t.equal(ran.status, status);
    t.match(JSON.parse(ran.out), { ok: false, code, error: String, remedy: String }, command.join(' '));
    t.match(ran.err, /^sluice: /, 'standard error tells people as ever');
  }
});
