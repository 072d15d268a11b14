import { execFile } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { freeTcpPort } from '../support/ports.ts';
import { Child } from './child.ts';
import { deviceIndex, deviceName, type Plant, pointName } from './plant.ts';
import type { Publishing } from './poller-setup.ts';

const root = new URL('../..', import.meta.url).pathname;
const sluice = join(root, 'sluice');

export interface GatewayOptions {
  readonly dir: string;
  readonly plant: Plant;
  /** Ports of the slave, one an endpoint. */
  readonly ports: readonly number[];
  /** Where values go; left out: collection only. */
  readonly upstream?: { readonly url: string; readonly ca: string };
  /** Smallest change that is reported, as gateway.yaml has it. */
  readonly deadband?: string;
  /** Directory for CPU profiles. */
  readonly profile: string | undefined;
}

/** The gateway as a user has it: a gateway.yaml and the command line. */
export class GatewaySetup {
  readonly #options: GatewayOptions;
  readonly #file: string;

  constructor(options: GatewayOptions, file: string) {
    this.#options = options;
    this.#file = file;
  }

  /** Writes the configuration below `dir`. */
  static async write(options: GatewayOptions): Promise<GatewaySetup> {
    mkdirSync(options.dir);
    const file = join(options.dir, 'gateway.yaml');
    writeFileSync(file, configuration(options, await freeTcpPort()));
    return new GatewaySetup(options, file);
  }

  /** A client certificate, with the files that a broker and a client need. */
  async credentials(name: string): Promise<Omit<Publishing, 'url'>> {
    const dir = join(this.#options.dir, 'credentials');
    await promisify(execFile)(sluice, ['credentials', 'issue', name, '--out', dir, this.#file]);
    return { name, ca: join(dir, 'ca.pem'), cert: join(dir, `${name}.pem`), key: join(dir, `${name}.key`) };
  }

  start(): Child {
    const { profile } = this.#options;
    return new Child({
      name: 'gateway',
      command: sluice,
      args: ['run', this.#file],
      cwd: root,
      ...(profile === undefined ? {} : { env: { NODE_OPTIONS: `--cpu-prof --cpu-prof-dir=${profile}` } }),
    });
  }
}

function configuration({ plant, ports, upstream, deadband }: GatewayOptions, brokerPort: number): string {
  const mqtt =
    upstream === undefined
      ? [`  embedded: { listen: "127.0.0.1:${brokerPort}" }`, '  publish: []']
      : [
          '  embedded: off',
          `  upstream: { url: "${upstream.url}", ca: "${upstream.ca}" }`,
          '  publish: [{ telemetry: "*/*" }]',
        ];
  const report = deadband === undefined ? '' : `, deadband: ${deadband}`;
  const points = Array.from(
    { length: plant.points },
    (_, p) => `      ${pointName(p)}: { at: "input:${p * 2}:float32"${report} }`,
  );
  const devices = ports.flatMap((port, endpoint) =>
    Array.from({ length: plant.units }, (_, i) => {
      const name = deviceName(deviceIndex(plant, endpoint, i + 1));
      return `  ${name}: { class: meter, at: "modbus-tcp://127.0.0.1:${port}?unit=${i + 1}" }`;
    }),
  );
  return [
    'gateway: { id: bench, data: ./data }',
    'mqtt:',
    ...mqtt,
    'zones:',
    '  plant: { vlan: 20, subnet: 127.0.0.0/8 }',
    'classes:',
    '  meter:',
    '    zone: plant',
    '    protocol: modbus',
    `    every: ${plant.every}ms`,
    '    points:',
    ...points,
    'devices:',
    ...devices,
    'segmentation: { mode: off }',
    '',
  ].join('\n');
}
