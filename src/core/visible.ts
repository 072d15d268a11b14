/** Control characters, which a terminal obeys; format characters, which hide and reorder; halves of a character. */
const INVISIBLE = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu;

/**
 * Text of a device, a client or a file as it may be shown on a terminal: one line, nothing that acts. Written as JSON
 * escapes, so that a JSON text stays one and means the same.
 */
export function visible(text: string): string {
  return text.replace(INVISIBLE, (character) =>
    character.replace(/[^]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`),
  );
}
