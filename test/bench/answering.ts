import { z } from 'zod';

/** One question of the bench to a helper process, over Node's message channel. */
export const question = z.object({ id: z.number(), ask: z.unknown() });
export const reply = z.object({ id: z.number(), answer: z.unknown() });

/** The helper's side: answers questions, and ends when the bench is gone, or when it cannot answer. */
export function answering(answer: (ask: unknown) => unknown): void {
  const give = async (message: unknown): Promise<void> => {
    const { id, ask } = question.parse(message);
    process.send?.({ id, answer: (await answer(ask)) ?? null });
  };
  process.on('message', (message) => {
    give(message).catch((error: unknown) => {
      process.stderr.write(`${error instanceof Error ? error.stack : String(error)}\n`);
      process.exit(1);
    });
  });
  process.on('disconnect', () => process.exit(0));
}
