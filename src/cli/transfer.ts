import { Progress, size } from './progress.ts';

/** Bytes on their way, for a person. `total` may turn out to be a little more or less. */
export class Transfer {
  readonly #progress: Progress;
  readonly #begun = performance.now();
  #done = 0;

  constructor(verb: string, total: number) {
    this.#progress = new Progress(() => {
      const share = Math.min(100, Math.floor((this.#done / Math.max(1, total)) * 100));
      const rate = this.#done / Math.max(0.001, (performance.now() - this.#begun) / 1_000);
      return `${verb}  ${share} % of ${size(total)}  ${size(Math.round(rate))}/s`;
    });
  }

  readonly advance = (bytes: number): void => {
    this.#done += bytes;
    this.#progress.show();
  };

  end(): void {
    this.#progress.end();
  }
}
