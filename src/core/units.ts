// A bare number never crosses a folder border as a time, a size or an address.
declare const unit: unique symbol;
type Unit<Name extends string> = number & { readonly [unit]: Name };

/** A length of time in milliseconds. */
export type Duration = Unit<'Duration'>;
/** A moment in milliseconds since 1970-01-01T00:00:00Z. */
export type EpochMs = Unit<'EpochMs'>;
/** A size in bytes. */
export type Bytes = Unit<'Bytes'>;

export const milliseconds = (n: number): Duration => n as Duration;
export const seconds = (n: number): Duration => (n * 1_000) as Duration;
export const minutes = (n: number): Duration => (n * 60_000) as Duration;
export const hours = (n: number): Duration => (n * 3_600_000) as Duration;
export const days = (n: number): Duration => (n * 86_400_000) as Duration;
export const epochMs = (n: number): EpochMs => n as EpochMs;
export const bytes = (n: number): Bytes => n as Bytes;
export const kibibytes = (n: number): Bytes => (n * 1_024) as Bytes;
export const mebibytes = (n: number): Bytes => (n * 1_048_576) as Bytes;
