/** A value at a time. */
export interface Vertex {
  readonly time: number;
  readonly value: number;
}

export interface Canvas {
  readonly from: number;
  /** Milliseconds of a column of pixels. */
  readonly step: number;
  readonly low: number;
  readonly high: number;
  readonly rows: number;
}

/** Draws the line through the vertices: every pixel that it touches, as `column:row`. */
export function drawn(line: readonly Vertex[], canvas: Canvas): Set<string> {
  const pixels = new Set<string>();
  for (const [i, end] of line.entries()) drawSegment(line[i - 1] ?? end, end, canvas, pixels);
  return pixels;
}

function drawSegment(a: Vertex, b: Vertex, canvas: Canvas, pixels: Set<string>): void {
  const { from, step } = canvas;
  const columnOf = (time: number): number => Math.floor((time - from) / step);
  const heightAt = (time: number): number =>
    b.time === a.time ? b.value : a.value + ((b.value - a.value) * (time - a.time)) / (b.time - a.time);
  for (let column = columnOf(a.time); column <= columnOf(b.time); column++) {
    const left = Math.max(a.time, from + column * step);
    const right = Math.min(b.time, from + (column + 1) * step);
    const heights = [
      left === a.time ? a.value : heightAt(left),
      right === b.time ? b.value : heightAt(right),
    ];
    mark(column, heights, canvas, pixels);
  }
}

function mark(column: number, heights: readonly number[], canvas: Canvas, pixels: Set<string>): void {
  const rowOf = (value: number): number =>
    Math.floor(((value - canvas.low) / (canvas.high - canvas.low || 1)) * (canvas.rows - 1));
  const top = rowOf(Math.max(...heights));
  for (let row = rowOf(Math.min(...heights)); row <= top; row++) pixels.add(`${column}:${row}`);
}
