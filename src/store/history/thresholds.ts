import { type Bytes, type Duration, mebibytes, minutes, seconds } from '../../core/units.ts';

/** When the historian does what. Tests make them small; a gateway runs with the defaults. */
export interface Thresholds {
  /** Samples in memory that are filed at once; 23 bytes each. */
  readonly headSamples: number;
  /** What the sample log takes behind the samples in memory, and a restart has to read again. */
  readonly logBytes: Bytes;
  /** A raw file is closed at this size, so that removing it never stalls the disk for long. */
  readonly partBytes: Bytes;
  /** Room that is kept for a full disk: some hours of rollups, and what has to be written down before a file goes. */
  readonly spareBytes: Bytes;
  /** Between two looks at the sample log, and at what is due. */
  readonly tick: Duration;
  /** An hour is rolled up so long after its end: samples are in the log and in the head by then. */
  readonly grace: Duration;
  /** Between two looks at the space on the disk and at the age of files. */
  readonly look: Duration;
}

export const THRESHOLDS: Thresholds = {
  headSamples: 2_000_000,
  logBytes: mebibytes(32),
  partBytes: mebibytes(256),
  spareBytes: mebibytes(32),
  tick: seconds(1),
  grace: minutes(1),
  look: seconds(10),
};
