import { z } from 'zod';

/** One question of the bench to a helper process, over Node's message channel. */
export const question = z.object({ id: z.number(), ask: z.unknown() });
export const reply = z.object({ id: z.number(), answer: z.unknown() });

/** The helper's side: answers one question after the other, and ends when the bench is gone. */
export function answering(answer: (ask: unknown) => unknown): void {
  process.on('message', (message) => {
    const { id, ask } = question.parse(message);
    process.send?.({ id, answer: answer(ask) ?? null });
  });
  process.on('disconnect', () => process.exit(0));
}
