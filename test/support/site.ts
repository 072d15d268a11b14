import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freeTcpPort } from './ports.ts';

/** A folder with a gateway.yaml of its own, on loopback addresses that no other test uses. */
export interface Site {
  readonly folder: string;
  readonly file: string;
  readonly id: string;
  readonly brokerPort: number;
  /** First three numbers of its devices' addresses. */
  readonly network: string;
  remove(): void;
}

export interface SiteOptions {
  readonly id?: string;
  /** Replaces the mqtt section; default is the embedded broker on a free port. */
  readonly mqtt?: string;
  /** The period of the meters. */
  readonly every?: string;
  /** More top-level sections. */
  readonly more?: string;
}

/** Three devices: a meter, a press with writable points, and a CoAP tank that is observed. */
export async function makeSite(options: SiteOptions = {}): Promise<Site> {
  const folder = mkdtempSync(join(tmpdir(), 'sluice-site-'));
  const network = `127.${100 + Math.floor(Math.random() * 100)}.${1 + Math.floor(Math.random() * 250)}`;
  const brokerPort = await freeTcpPort();
  const id = options.id ?? 'test-site';
  const file = join(folder, 'gateway.yaml');
  writeFileSync(
    file,
    `gateway: { id: ${id}, data: ./data }
mqtt: ${options.mqtt ?? `{ embedded: { listen: "127.0.0.1:${brokerPort}" } }`}
zones:
  plant: { vlan: 20, subnet: ${network}.0/24 }
classes:
  meter:
    zone: plant
    protocol: modbus
    every: ${options.every ?? '200ms'}
    points:
      voltage: { at: "input:0:float32", unit: V }
      power: { at: "input:2:float32:CDAB", unit: W }
      energy: { at: "input:4:uint32", unit: Wh }
      running: { at: "discrete:0" }
  press:
    zone: plant
    protocol: modbus
    every: ${options.every ?? '200ms'}
    points:
      breaker: { at: "coil:3", writable: true }
      setpoint: { at: "holding:10:int16", scale: 0.1, unit: bar, writable: true, min: 0, max: 16 }
      pressure: { at: "input:0:int16", scale: 0.1, unit: bar }
  tank:
    zone: plant
    protocol: coap
    every: 1s
    points:
      level: { at: "/sensors/level", observe: true, unit: m }
      temperature: { at: "/sensors/temperature", unit: Cel }
devices:
  meter-1: { class: meter, at: "modbus-tcp://${network}.11:1502?unit=1" }
  meter-2: { class: meter, at: "modbus-tcp://${network}.11:1502?unit=2" }
  press-1: { class: press, at: "modbus-tcp://${network}.12:1502" }
  tank-1: { class: tank, at: "coap://${network}.31" }
${options.more ?? ''}`,
  );
  return {
    folder,
    file,
    id,
    brokerPort,
    network,
    remove: () => rmSync(folder, { recursive: true, force: true }),
  };
}
