import type { Endpoint } from './config.ts';
import type { DeviceAddress } from './device-address.ts';
import type { Report } from './problem.ts';

/** Devices that share an address: which of that is meant, and which a mistake. */
export class Neighbours {
  readonly #report: Report;
  readonly #byUnit = new Map<string, string>();
  readonly #byEndpoint = new Map<
    string,
    { readonly name: string; readonly endpoint: Endpoint; readonly sure: boolean }
  >();
  readonly #byMac = new Map<string, { readonly name: string; readonly host: string }>();
  readonly #macOfHost = new Map<string, { readonly name: string; readonly mac: string }>();

  constructor(report: Report) {
    this.#report = report;
  }

  /** `sure` where the class of the device is known. */
  add(name: string, { endpoint, address }: DeviceAddress, mac: string | undefined, sure: boolean): void {
    const transport = endpoint.protocol.startsWith('coap') ? 'udp' : 'tcp';
    const place = 'host' in endpoint ? `${transport} ${endpoint.host} ${endpoint.port}` : endpoint.path;
    const unit = 'unit' in endpoint ? `${place} ${endpoint.unit}` : place;
    const path = ['devices', name, 'at'];
    const twin = this.#byUnit.get(unit);
    const neighbour = this.#byEndpoint.get(place);
    if (twin !== undefined) {
      this.#report(path, `the same address as ${twin}`, 'give each device its own address or unit');
    } else if (neighbour !== undefined) {
      const { endpoint: other } = neighbour;
      if (other.protocol !== endpoint.protocol) {
        this.#report(
          path,
          `${endpoint.protocol} where ${neighbour.name} has ${other.protocol}`,
          'use one protocol for one endpoint',
        );
      } else if (
        sure &&
        neighbour.sure &&
        'inFlight' in endpoint &&
        'inFlight' in other &&
        endpoint.inFlight !== other.inFlight
      ) {
        this.#report(
          path,
          `in-flight ${endpoint.inFlight} where ${neighbour.name}, behind the same endpoint, has ${other.inFlight}`,
          'give their classes the same in-flight',
        );
      }
    }
    this.#byUnit.set(unit, twin ?? name);
    this.#byEndpoint.set(place, neighbour ?? { name, endpoint, sure });
    if (mac !== undefined && address !== undefined) this.#checkMac(name, mac, address.text);
  }

  #checkMac(name: string, mac: string, host: string): void {
    const path = ['devices', name, 'mac'];
    if ((Number.parseInt(mac.slice(0, 2), 16) & 1) === 1 || mac === '00:00:00:00:00:00') {
      this.#report(path, `${mac} is a group address or none`, 'use the hardware address of the device');
      return;
    }
    // Units behind one bus bridge share its host and its hardware.
    const owner = this.#byMac.get(mac);
    if (owner !== undefined && owner.host !== host) {
      this.#report(
        path,
        `${mac} is also the one of ${owner.name} at ${owner.host}`,
        'give each host its own',
      );
    }
    const sibling = this.#macOfHost.get(host);
    if (sibling !== undefined && sibling.mac !== mac) {
      this.#report(
        path,
        `${sibling.name} has ${sibling.mac} for the same host`,
        'one host has one hardware address',
      );
    }
    this.#byMac.set(mac, owner ?? { name, host });
    this.#macOfHost.set(host, sibling ?? { name, mac });
  }
}
