import t from 'tap';
import { Nft, NftError } from '../../src/netd/nft.ts';
import { refusalOf } from '../../src/netd/refusal.ts';
import { compile } from '../../src/segmentation/compile.ts';
import { render } from '../../src/segmentation/render.ts';
import { policyOf } from '../segmentation/policies.ts';

// A kernel that takes everything but one thing, and says no more than "no", as kernels do.

const POLICY = policyOf(`
gateway: { id: plant }
zones:
  control: { vlan: 10, subnet: 10.20.10.0/24 }
  supervision: { vlan: 40, subnet: 10.20.40.0/24 }
conduits:
  - { from: supervision, to: control, allow: [modbus-tcp, tcp/4840], because: "HMI" }
  - { from: supervision, to: control, only: { from: [10.20.40.5] }, allow: [tcp/9000], because: "panel" }
  - { from: control, to: supervision, allow: [ntp], because: "time" }
segmentation: { mode: enforce, management: { zone: supervision, from: [10.20.40.9], allow: [ssh] } }
`);
const DOCUMENT = render(compile(POLICY));

const no = (): NftError => new NftError('says no', 'cannot check rules: nft: Error: no', '');

class Refusing extends Nft {
  asked = 0;
  readonly #what: RegExp;

  constructor(what: RegExp) {
    super();
    this.#what = what;
  }

  override async check(document: string): Promise<void> {
    this.asked += 1;
    if (this.#what.test(document)) throw no();
  }
}

async function blamed(what: RegExp): Promise<{ readonly path: string | undefined; readonly asked: number }> {
  const nft = new Refusing(what);
  const refused = await refusalOf(nft, DOCUMENT, POLICY, no());
  return { path: refused?.path, asked: nft.asked };
}

t.test('what the kernel refuses is told by the place it was made for', async (t) => {
  t.match(await blamed(/"tcp",4840/), { path: 'conduits[0]' }, 'an element among others of its map');
  t.match(await blamed(/"tcp",9000/), { path: 'conduits[1]' });
  t.match(await blamed(/"name":"f_conduit_control_supervision_0"/), { path: 'conduits[2]' }, 'a chain');
  t.match(await blamed(/conduits\[2\]: time/), { path: 'conduits[2]' }, 'a rule, by its comment');
  t.match(await blamed(/"vlan40",\{"prefix"/), { path: 'zones.supervision' }, 'the addresses of a zone');
  t.match(await blamed(/"name":"d_control_gateway"/), { path: 'zones.control' });
  t.match(await blamed(/"name":"g_forward"/), { path: undefined }, 'nobody in particular');
  t.match(await blamed(/never there/), { path: undefined });
});

t.test('with its line, where the file is at hand', async (t) => {
  const policy = { ...POLICY, placeOf: (path: string) => `gateway.yaml:7:5<${path}>` };
  const cause = no();
  const refused = await refusalOf(new Refusing(/"tcp",9000/), DOCUMENT, policy, cause);
  t.match(
    refused?.message,
    /^gateway\.yaml:7:5<conduits\[1\]>: conduits\[1\]: the kernel refuses the rules .* nft: Error: no$/,
  );
});

t.test('an nft that dies or hangs while it is asked blames nobody', async (t) => {
  class Dying extends Refusing {
    override async check(document: string): Promise<void> {
      if (this.asked === 4) throw new NftError('killed', 'cannot check rules: nft was killed by SIGKILL', '');
      await super.check(document);
    }
  }
  const killed = new NftError('late', 'cannot check rules: nft did not end within 30 s', '');

  t.equal(await refusalOf(new Dying(/"tcp",9000/), DOCUMENT, POLICY, no()), undefined);
  t.equal(await refusalOf(new Refusing(/"tcp",9000/), DOCUMENT, POLICY, killed), undefined);
});

t.test('few questions for many commands', async (t) => {
  const { asked } = await blamed(/"tcp",9000/);
  t.ok(asked < 24, `${asked} questions`);
});
