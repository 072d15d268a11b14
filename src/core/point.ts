/** What a message or a file has to know of a point. A unit that changes makes it another series of the same point. */
export interface PointName {
  readonly device: string;
  readonly point: string;
  readonly unit?: string | undefined;
}
