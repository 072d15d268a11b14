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

/**
 * Of random cases: the same ones in each usual run, so that it can be repeated and compared; fresh ones with LONG=1; or
 * those that the environment names. A test that fails tells its seed, or the cases themselves.
 */
export function seedOf(name: string, usual: number): number {
  return Number(process.env[name] ?? (long === false ? Date.now() % 2 ** 31 : usual));
}
