import t from 'tap';
import { sluice } from './sluice.ts';

t.test('every command says what it does, and wrong usage is 64 in one line', async (t) => {
  const commands = [...sluice('--help').out.matchAll(/^ {2}([a-z]+) /gm)].map(([, name = '']) => name);
  t.ok(commands.length >= 8);
  for (const name of commands) {
    t.match(sluice(name, '--help'), { status: 0, out: new RegExp(`^Usage: ./sluice ${name}`) });
    const { status, err } = sluice(name, '--jsn');
    t.equal(status, 64);
    t.match(err, /^sluice: Unknown option '--jsn'[^\n]*; \.\/sluice [a-z]+ --help tells more\n$/);
  }
  t.match(sluice('version', '-h'), { status: 0, out: /^Usage/ });
  t.match(sluice('help', 'plan'), { status: 0, out: /^Usage: .\/sluice plan/ });
  t.match(
    sluice('history', '--from', '-1h').err,
    /^sluice: --from needs a value; one that begins with a dash is written --from=-1; /,
  );
  t.match(sluice('version', '--jsn').err, /did you mean --json\?/);
  t.match(sluice('chek').err, /there is no command "chek"; did you mean check\?/);
  t.equal(sluice('version', 'more').status, 64);
  t.match(JSON.parse(sluice('version', '--json').out), { sluice: /^\d/, node: /^24\./ });
});
