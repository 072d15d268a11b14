const MINUTE = 60_000;
/** `SS.mmmZ`, the end of what `toISOString` writes. */
const SECONDS_LENGTH = 7;

/** ISO 8601 with milliseconds, UTC. Times in order share their minute, whose text is made once. */
export class IsoTime {
  #minute = Number.NaN;
  #prefix = '';

  of(time: number): string {
    const whole = Math.floor(time);
    const minute = Math.floor(whole / MINUTE);
    if (minute !== this.#minute) {
      this.#minute = minute;
      this.#prefix = new Date(minute * MINUTE).toISOString().slice(0, -SECONDS_LENGTH);
    }
    const rest = whole - minute * MINUTE;
    const second = Math.floor(rest / 1_000);
    const fraction = rest - second * 1_000;
    return `${this.#prefix}${second < 10 ? '0' : ''}${second}.${fraction < 10 ? '00' : fraction < 100 ? '0' : ''}${fraction}Z`;
  }
}
