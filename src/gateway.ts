// Composition root: the parts of a running gateway, and who is handed what. No logic.
import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { createCommander } from './commands/commander.ts';
import type { Config } from './config/config.ts';
import { matches } from './config/pattern.ts';
import { BatchBuilder } from './core/batch.ts';
import { systemClock } from './core/clock.ts';
import type { CommandResult } from './core/command.ts';
import { errorText } from './core/errors.ts';
import type { Facts, Log } from './core/log.ts';
import { runAll, type Task } from './core/task.ts';
import { createLines } from './drivers/catalogue.ts';
import { coapServer } from './drivers/coap/server.ts';
import { modbusGuard } from './drivers/modbus/guard/guard.ts';
import { createRunner } from './drivers/runner.ts';
import { openIdentity } from './identity/identity.ts';
import { broker } from './mqtt/broker.ts';
import type { InboundCommand } from './mqtt/messages.ts';
import { UPSTREAM_CONSUMER, type UpstreamTask, upstream } from './mqtt/upstream.ts';
import { certificateWatch, commandFigures, figures, guardFigures } from './housekeeping.ts';
import { pointsReport } from './points-report.ts';
import { type Pems, upstreamIdentity } from './upstream-identity.ts';
import { type GatewayHistory, openHistory } from './store/history/history.ts';
import { openOutbox } from './store/outbox.ts';
import { guardsOf } from './segmentation/guards.ts';
import { cloudEvent, eventTopic } from './telemetry/event.ts';
import { createPipeline } from './telemetry/pipeline.ts';
import { version } from './version.ts';

interface Asker {
  publishResult(device: string, point: string, result: CommandResult): unknown;
}

/** Runs the gateway until `signal` is aborted; returns when everything is on disk and closed. */
export async function runGateway(config: Config, log: Log, signal: AbortSignal): Promise<void> {
  const clock = systemClock;
  const { id: gateway, data } = config.gateway;
  const { embedded, upstream: platform } = config.mqtt;

  const identity = await openIdentity({
    folder: join(data, 'identity'),
    gatewayId: gateway,
    addresses: embedded === undefined ? [] : [embedded.host],
    clock,
    log,
  });
  const own = (): Pems => ({ ca: identity.ca, cert: identity.cert, key: identity.key });
  let history: GatewayHistory | undefined;
  const outbox = await openOutbox({
    file: join(data, 'telemetry.db'),
    limit: config.telemetry.outbox,
    commitEvery: config.telemetry.commitEvery,
    points: config.points.map(({ device, name, unit, every, recorded }) => {
      return { device, point: name, unit, every, recorded };
    }),
    log,
    onFull: () => history?.shed(),
  });
  await using closing = new AsyncDisposableStack();
  closing.defer(async () => outbox.close());
  history = await openHistory({
    folder: data,
    retention: config.telemetry.retention,
    outbox: config.telemetry.outbox,
    sampleLog: outbox,
    log,
    onEvent: happened,
  });
  closing.defer(async () => history.close());
  const places = await outbox.consumers();
  if (platform === undefined && places.some(({ name }) => name === UPSTREAM_CONSUMER)) {
    log.warn('mqtt.upstream was taken out of the configuration: what still waited for it is given up');
    await outbox.forget(UPSTREAM_CONSUMER);
  }

  const intake = new BatchBuilder();
  const onDevice = (device: string, state: string, facts: Facts): void =>
    happened(`device-${state}`, device, facts);
  const runner = createRunner({
    lines: createLines(config, { clock, log }),
    points: config.points,
    into: intake,
    clock,
    log,
    onDevice,
  });
  const pipeline = createPipeline({
    points: config.points,
    intake,
    append: async (batch) => outbox.append(batch),
    record: async (batch) => outbox.record(batch),
    onDevice,
    clock,
    log,
  });
  const commander = createCommander({
    points: config.points,
    write: async (point, value, stop) => runner.write(point, value, stop),
    readBack: async (point, stop) => runner.readBack(point, stop),
    clock,
    log,
    signal,
  });

  function happened(kind: string, subject: string, facts: Facts): void {
    if (!config.mqtt.publish.event.some((pattern) => matches(pattern, kind))) return;
    const event = { kind, id: randomUUID(), time: clock.now(), subject, data: facts };
    outbox.appendEvent(eventTopic(event), cloudEvent(gateway, event)).catch((error: unknown) => {
      log.error('event lost: the store does not take it', { kind, subject, error: errorText(error) });
    });
  }

  /** The result goes back to where the command came from. */
  async function answer(asker: Asker, command: InboundCommand): Promise<void> {
    const result = await commander.handle(command);
    asker.publishResult(command.device, command.point, result);
  }
  const obey =
    (from: () => Asker) =>
    (command: InboundCommand): void => {
      void answer(from(), command);
    };

  const tasks: Task[] = [runner, pipeline];
  const renewed: (() => void)[] = [];
  const shared = { gateway, version: version(), outbox, clock, log };

  if (config.coap !== undefined) {
    const { devices, points } = config;
    tasks.push(coapServer({ listen: config.coap.listen, devices, points, into: intake, clock, log }));
  }
  if (embedded !== undefined) {
    const local = broker({ ...shared, listen: embedded, identity: own(), onCommand: obey(() => local) });
    tasks.push(local);
    renewed.push(() => local.renewIdentity(own()));
  }
  if (platform !== undefined) {
    const shows = (): Pems => upstreamIdentity(platform, own());
    const commandable = config.points.some(({ writable }) => writable);
    const onCommand = commandable ? { onCommand: obey(() => link) } : {};
    const link: UpstreamTask = upstream({ ...shared, config: platform, identity: shows(), ...onCommand });
    tasks.push(link);
    renewed.push(() => link.renewIdentity(shows()));
  }
  const guards = guardsOf(config).filter(({ limits }) => limits.grade === 'enforced');
  const guard = modbusGuard({ guards, clock, log, onEvent: happened });
  if (guards.length > 0) tasks.push(guard);
  tasks.push(certificateWatch(identity, () => renewed.forEach((tell) => tell()), { clock, log }));
  const facts = (): Facts => ({
    ...pipeline.counters,
    polls: runner.counters.polls,
    missed: runner.counters.missed,
    ...commandFigures(commander.counts()),
    ...(guards.length > 0 && guardFigures(guard.counters)),
  });
  tasks.push(figures({ outbox, history, facts, clock, log }));
  tasks.push(pointsReport(config.points, pipeline.statistics, { clock, log }));

  await runAll(tasks, signal);
}
