import t from 'tap';
import { asTyped, typed } from '../../src/cli/as-typed.ts';
import { SluiceError } from '../../src/core/errors.ts';

// What is pasted has to mean the gateway that was asked about.

t.test('a command in a text names the file and the socket that were named', async (t) => {
  const confirm = 'say there:\n  ./sluice firewall confirm 5f3a90c2\n';
  t.equal(asTyped(confirm, { file: 'gateway.yaml' }), confirm);
  t.equal(
    asTyped(confirm, { file: '/etc/sluice/gateway.yaml' }),
    'say there:\n  ./sluice firewall confirm 5f3a90c2 /etc/sluice/gateway.yaml\n',
  );
  t.equal(
    asTyped(confirm, { file: 'my plant.yaml', socket: '/run/n.sock' }),
    "say there:\n  ./sluice firewall confirm 5f3a90c2 --socket /run/n.sock 'my plant.yaml'\n",
  );
});

t.test('each as the command takes it, and what is no command stays', async (t) => {
  const said = { file: 'p.yaml', socket: 's' };
  for (const [text, whole] of [
    ['it: ./sluice firewall rollback', 'it: ./sluice firewall rollback --socket s p.yaml'],
    ['./sluice firewall apply, then confirm', './sluice firewall apply --socket s p.yaml, then confirm'],
    ['./sluice firewall prove tells', './sluice firewall prove p.yaml tells'],
    ['./sluice network plan tells', './sluice network plan p.yaml tells'],
    ['./sluice quarantine lists who is', './sluice quarantine --socket s p.yaml lists who is'],
    ['which: ./sluice release press-1', 'which: ./sluice release press-1 --socket s p.yaml'],
    ['./sluice release fd00::9 ends it', './sluice release fd00::9 --socket s p.yaml ends it'],
    ['./sluice release press-1, then', './sluice release press-1 --socket s p.yaml, then'],
    ['./sluice firewall --help tells more', './sluice firewall --help tells more'],
    ['./sluice network verify tells', './sluice network verify p.yaml tells'],
    ['./sluice netd --allow-uid', './sluice netd --allow-uid'],
  ] as const)
    t.equal(asTyped(text, said), whole);
});

t.test('so do the words of an error', async (t) => {
  const error = new SluiceError('SETUP', 'change 5f3a90c2 waits', {
    remedy: './sluice firewall confirm 5f3a90c2, or ./sluice firewall rollback',
  });

  await t.rejects(
    typed({ file: 'p.yaml' }, async () => {
      throw error;
    }),
    {
      code: 'SETUP',
      message: 'change 5f3a90c2 waits',
      remedy: './sluice firewall confirm 5f3a90c2 p.yaml, or ./sluice firewall rollback p.yaml',
      cause: error,
    },
  );
});
