/**
 * The certificate library wires itself together with a container that keeps notes on classes through the three
 * functions of the Reflect metadata proposal and refuses to load without them. These are exactly those three; nothing
 * else in the house uses them.
 */
export function provideReflect(): void {
  for (const [name, value] of Object.entries({ getMetadata, getOwnMetadata, defineMetadata })) {
    if (!(name in Reflect))
      Object.defineProperty(Reflect, name, { value, configurable: true, writable: true });
  }
}

const notes = new WeakMap<object, Map<unknown, unknown>>();

function getOwnMetadata(key: unknown, target: object): unknown {
  return notes.get(target)?.get(key);
}

function getMetadata(key: unknown, target: object): unknown {
  for (let at: object | null = target; at !== null; at = prototypeOf(at)) {
    if (notes.get(at)?.has(key) === true) return getOwnMetadata(key, at);
  }
  return undefined;
}

function prototypeOf(target: object): object | null {
  const above: unknown = Object.getPrototypeOf(target);
  return typeof above === 'object' || typeof above === 'function' ? above : null;
}

function defineMetadata(key: unknown, value: unknown, target: object): void {
  const own = notes.get(target) ?? new Map<unknown, unknown>();
  own.set(key, value);
  notes.set(target, own);
}
