import { lookup } from 'node:dns/promises';
import { isIP } from 'node:net';
import type { BatchBuilder } from '../../core/batch.ts';
import type { Clock } from '../../core/clock.ts';
import { errorText } from '../../core/errors.ts';
import type { Log } from '../../core/log.ts';
import type { Task } from '../../core/task.ts';
import { seconds } from '../../core/units.ts';
import type { DeviceConfig, Listen, PointConfig } from '../../config/config.ts';
import { plainAddress, type PushCounters, PushServer } from './push.ts';
import { openServer } from './transport.ts';

const EVERY_ADDRESS = new Set(['0.0.0.0', '::']);
const ROUND = seconds(60); // how often names are resolved again, memory is tidied and refusals are told

export interface CoapServerDeps {
  readonly listen: Listen;
  readonly devices: readonly DeviceConfig[];
  readonly points: readonly PointConfig[];
  /** Takes the samples; whoever owns it empties it. */
  readonly into: BatchBuilder;
  readonly clock: Clock;
  readonly log: Log;
  /** 0 to 1: start of the message IDs. */
  readonly random?: () => number;
}

export interface CoapServer extends Task {
  readonly counters: PushCounters;
}

/**
 * Takes what devices push by POST or PUT to `/<device>/<point>`, or as a SenML pack to `/<device>`, each from its
 * configured address alone. `run` throws SETUP where the port cannot be had.
 */
export function coapServer(deps: CoapServerDeps): CoapServer {
  const { listen, devices, clock, log } = deps;
  const push = new PushServer({ ...deps, random: deps.random ?? Math.random });
  const run = async (signal: AbortSignal): Promise<void> => {
    push.setAddresses(await addressesOf(devices, log));
    const socket = await openServer(listen.host, listen.port, {
      received: (datagram, from) => {
        const answer = push.receive(datagram, from, clock.elapsed(), clock.now());
        if (answer !== undefined) socket.send(answer, from);
      },
      failed: (error) => log.warn('an answer to a pushing device was not sent', { error: errorText(error) }),
    });
    log.info('CoAP devices may push', { to: `coap://${listen.host}:${listen.port}` });
    if (EVERY_ADDRESS.has(listen.host)) {
      log.warn('answers to pushing devices leave with the address that the route picks', {
        remedy: 'name one address in coap.listen where a device sends to another one than that',
      });
    }
    try {
      let told = 0;
      while (!signal.aborted) {
        await clock.sleep(ROUND, signal);
        push.expire(clock.elapsed());
        told = tellRefusals(push.counters, told, log);
        if (devices.some(hasName)) push.setAddresses(await addressesOf(devices, log));
      }
    } catch (error) {
      if (!signal.aborted) throw error;
    } finally {
      await socket.close();
    }
  };
  return { name: 'coap server', counters: push.counters, run };
}

function tellRefusals({ refused, dropped }: PushCounters, told: number, log: Log): number {
  const sum = dropped + [...refused.values()].reduce((total, count) => total + count, 0);
  if (sum > told) log.warn('CoAP pushes were refused', { ...Object.fromEntries(refused), dropped });
  return sum;
}

const hasName = ({ endpoint }: DeviceConfig): boolean => 'host' in endpoint && isIP(endpoint.host) === 0;

/** Address of every CoAP device; one whose name nobody knows cannot push until it is found. */
async function addressesOf(devices: readonly DeviceConfig[], log: Log): Promise<ReadonlyMap<string, string>> {
  const addresses = new Map<string, string>();
  for (const { name, endpoint } of devices) {
    if (endpoint.protocol !== 'coap' && endpoint.protocol !== 'coaps') continue;
    try {
      addresses.set(name, plainAddress((await lookup(endpoint.host)).address));
    } catch (error) {
      log.warn('address of a pushing device not found', {
        device: name,
        host: endpoint.host,
        error: errorText(error),
      });
    }
  }
  return addresses;
}
