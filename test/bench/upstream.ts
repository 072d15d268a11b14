import { join } from 'node:path';
import { Child } from './child.ts';
import { GatewaySetup } from './gateway.ts';
import { Mosquitto } from './mosquitto.ts';
import type { Plant } from './plant.ts';
import type { Publishing } from './poller-setup.ts';
import { Recorder } from './recorder.ts';
import type { Findings } from './recording.ts';
import type { Bench } from './scenario.ts';
import { Slave } from './slave-control.ts';

/** A slave, a broker and a gateway that is configured for both, with everything in one directory. */
export class Upstream implements AsyncDisposable {
  readonly slave: Slave;
  readonly broker: Mosquitto;
  readonly gateway: GatewaySetup;
  /** What a baseline needs to publish as well as the gateway does. */
  readonly naive: Publishing;
  readonly #dir: string;
  readonly #stack: AsyncDisposableStack;

  private constructor(
    parts: Pick<Upstream, 'slave' | 'broker' | 'gateway' | 'naive'>,
    dir: string,
    stack: AsyncDisposableStack,
  ) {
    this.slave = parts.slave;
    this.broker = parts.broker;
    this.gateway = parts.gateway;
    this.naive = parts.naive;
    this.#dir = dir;
    this.#stack = stack;
  }

  /** The broker runs when this returns; the gateway does not yet. */
  static async start(bench: Bench, plant: Plant, name: string, deadband?: string): Promise<Upstream> {
    await using stack = new AsyncDisposableStack();
    const dir = bench.directory(name);
    const slave = stack.use(await Slave.start(plant));
    const broker = stack.use(await Mosquitto.prepare(join(dir, 'broker')));
    const gateway = await GatewaySetup.write({
      dir: join(dir, 'gateway'),
      plant,
      ports: slave.ports,
      upstream: { url: broker.url, ca: broker.ca },
      ...(deadband === undefined ? {} : { deadband }),
      profile: bench.profile,
    });
    const issued = await gateway.credentials('naive');
    broker.trust(issued.ca);
    await broker.start();
    const naive = { ...issued, url: broker.url, ca: broker.ca };
    return new Upstream({ slave, broker, gateway, naive }, dir, stack.move());
  }

  record(topic: string, name: string): Recorder {
    return new Recorder({ port: this.broker.plainPort, topic, file: join(this.#dir, `${name}.tsv`) });
  }

  /** The modbus-serial and mqtt.js client that polls the same slave and publishes to the same broker. */
  poller(plant: Plant): Child {
    const { slave, naive } = this;
    return Child.helper('modbus-serial + mqtt.js', 'poller.ts', {
      plant,
      ports: slave.ports,
      timeout: 1_000,
      publish: naive,
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync();
  }
}

/** What must not be found in a recording of the gateway. */
export function faultsIn({ wrong, bad, holes }: Findings): string[] {
  return [
    ...(wrong > 0 ? [`${wrong} values that the slave never gave for that point at that time`] : []),
    ...(bad > 0 ? [`${bad} samples that are not good, although every unit answers`] : []),
    ...(holes > 0 ? [`${holes} sequence numbers are missing`] : []),
  ];
}
