/** Why a test that takes long is left out; false where LONG is set. One like it, of the same kind, always runs. */
export const long =
  process.env['LONG'] === undefined ? 'takes long: LONG=1 npm test runs it too' : (false as const);

/**
 * How often a fault is repeated: a few times always, in full with LONG=1, and otherwise as often as the environment says
 * under this name.
 */
export function times(name: string, few: number, full: number): number {
  return Number(process.env[name] ?? (long === false ? full : few));
}
