import type { Config, DeviceConfig, Endpoint } from '../config/config.ts';
import type { Clock } from '../core/clock.ts';
import { SluiceError } from '../core/errors.ts';
import type { Log } from '../core/log.ts';
import { coapLine } from './coap/line.ts';
import type { Line } from './driver.ts';
import { modbusLine } from './modbus/line.ts';

/** One line for each endpoint, with all devices behind it. */
export function createLines(config: Config, deps: { readonly clock: Clock; readonly log: Log }): Line[] {
  return devicesByEndpoint(config).map((devices) => createLine(devices, config, deps));
}

/** The devices of each line, in the order of `createLines`. */
export function devicesByEndpoint({ devices }: Config): DeviceConfig[][] {
  return [...Map.groupBy(devices, ({ endpoint }) => endpointKey(endpoint)).values()];
}

function createLine(
  devices: readonly DeviceConfig[],
  config: Config,
  deps: { readonly clock: Clock; readonly log: Log },
): Line {
  const protocol = devices[0]?.endpoint.protocol;
  switch (protocol) {
    case 'modbus-tcp':
    case 'modbus-rtu-tcp':
      return modbusLine(devices, config.points, deps);
    case 'coap':
      return coapLine(devices, config.points, deps);
    default:
      // The configuration refuses these; whoever comes here has passed it by.
      throw new SluiceError(
        'SETUP',
        `there is no driver for ${protocol ?? 'an endpoint without devices'} yet`,
      );
  }
}

/** What shares a connection. The Modbus unit is not part of it: units behind one endpoint take turns. */
function endpointKey(endpoint: Endpoint): string {
  return endpoint.protocol === 'modbus-rtu'
    ? `${endpoint.protocol}:${endpoint.path}`
    : `${endpoint.protocol}://[${endpoint.host}]:${endpoint.port}`;
}
