/** Why a test that takes long is left out; false where LONG is set. One like it, of the same kind, always runs. */
export const long =
  process.env['LONG'] === undefined ? 'takes long: LONG=1 npm test runs it too' : (false as const);
