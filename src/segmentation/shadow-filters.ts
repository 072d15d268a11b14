import { isRecord, text } from './field.ts';
import { recordsOf, type Severity, type Shadow } from './shadow-path.ts';

// Traffic control, which sees packets beside our rules.

/** Filters of one side of an interface, as `tc -j filter show` prints them. */
export interface Filters {
  readonly dev: string;
  readonly side: string;
  readonly json: unknown;
}

/** Actions that only let go on, drop, or count. */
const HARMLESS: ReadonlySet<string> = new Set(['gact', 'police', 'connmark', 'sample']);

export function filterShadows({ dev, side, json }: Filters): Shadow[] {
  return recordsOf(json).flatMap((filter): Shadow[] => {
    const options = isRecord(filter['options']) ? filter['options'] : {};
    const place = `tc filter ${text(filter['kind'])} at ${dev} ${side}`;
    const remedy = `tc filter show dev ${dev} ${side}; tc qdisc del dev ${dev} clsact takes all of them away`;
    const actions = recordsOf(options['actions']);
    // The chain alone is listed once more, without options.
    if (filter['kind'] === 'bpf' && Object.keys(options).length > 0)
      return [
        {
          kind: 'tc',
          severity: 'danger',
          place,
          does: 'a program sees packets beside our rules and may redirect, answer or change them; what it does cannot be read from outside',
          remedy,
        },
      ];
    return actions.flatMap((action): Shadow[] => {
      const kind = text(action['kind']);
      if (HARMLESS.has(kind)) return [];
      const [severity, does] = actionEffect(kind, action);
      return [{ kind: 'tc', severity, place: `${place}, action ${kind}`, does, remedy }];
    });
  });
}

function actionEffect(kind: string, action: Readonly<Record<string, unknown>>): [Severity, string] {
  if (kind === 'mirred') {
    const to = text(action['to_dev']) || 'another interface';
    return text(action['mirred_action']) === 'mirror'
      ? ['warning', `copies of packets go to ${to}, whatever our rules say of them`]
      : ['danger', `packets go to ${to} past all rules between zones`];
  }
  if (kind === 'bpf')
    return ['danger', 'a program sees packets beside our rules; what it does cannot be read from outside'];
  return [
    'warning',
    'it changes packets beside our rules, which judge what it makes of them, or do not see what becomes of them after',
  ];
}
