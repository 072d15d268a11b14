/** 32 bits out of a text: FNV-1a, then mixed, so that names that differ in one letter have nothing in common. */
export function hashOf(text: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  return mixed(hash);
}

/** The n-th fraction, 0 to below 1, that belongs to a hash. */
export function fraction(hash: number, n: number): number {
  return mixed(hash + Math.imul(n + 1, 0x9e3779b9)) / 2 ** 32;
}

function mixed(hash: number): number {
  let h = hash;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}
