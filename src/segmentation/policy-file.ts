import { z } from 'zod';
import { epochMs } from '../core/units.ts';
import type { Flow, Policy } from './policy.ts';
import { POLICY_VERSION } from './policy-text.ts';

// What policy-text.ts writes, read again.

const address = z.string().regex(/^\d+$/).transform(BigInt);
const ranges = z.array(z.object({ low: address, high: address }).strict());
const both = { v4: ranges, v6: ranges };
const side = z.object({ zone: z.string(), interface: z.string().optional(), ...both });
const flow = z.object({
  name: z.string(),
  kind: z.custom<Flow['kind']>((kind) => typeof kind === 'string'),
  from: side.transform((one) => ({ ...one, interface: one.interface })),
  to: side.transform((one) => ({ ...one, interface: one.interface })),
  protocol: z.enum(['tcp', 'udp', 'icmp', 'icmpv6']),
  ports: z.tuple([z.int(), z.int()]),
  because: z.string(),
  path: z.string(),
  devices: z.array(z.string()),
  guard: z
    .object({
      grade: z.enum(['enforced', 'filtered']),
      listeners: z.array(
        z.object({
          family: z.literal([4, 6]),
          address,
          port: z.int(),
          knock: z.object({ from: address, to: address }),
        }),
      ),
      limits: z.string(),
    })
    .optional(),
});
const mac = z.string();
const path = z.string().optional();
const hosts = { v4: z.array(address), v6: z.array(address) };
const allowed = z.enum(['deny', 'allow']);
const portGuard = z.object({
  ports: z.array(z.object({ name: z.string(), path, unknown: allowed, within: allowed })),
  hosts: z.array(z.object({ mac, path, ports: z.array(z.string()), ...hosts })),
  own: z.object(hosts),
});
const moment = z.int().transform(epochMs);
const policyFile = z.object({
  version: z.literal(POLICY_VERSION),
  /** Digest of the rules that were made of it: another one belongs to other rules. */
  rules: z.string(),
  policy: z.object({
    mode: z.enum(['off', 'observe', 'enforce']),
    zones: z.array(
      z.object({ name: z.string(), interface: z.string(), ...both, rest: z.boolean().optional() }),
    ),
    flows: z.array(flow),
    guard: portGuard.optional(),
    observeUntil: moment.optional(),
    observed: z.array(z.object({ from: z.string(), to: z.string(), until: moment })).optional(),
    devices: z
      .array(z.object({ name: z.string(), class: z.string(), zone: z.string(), ...both }))
      .optional()
      .transform((devices) => devices ?? []),
  }),
});

/** Undefined where the text is none, or belongs to other rules. */
export function policyOfText(text: string, rules: string): Policy | undefined {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    return undefined;
  }
  const read = policyFile.safeParse(json);
  return read.success && read.data.rules === rules ? read.data.policy : undefined;
}
