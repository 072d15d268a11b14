/** What went over one line since the start of the process. */
export interface Counters {
  connects: number;
  requests: number;
  /** Replies that were accepted, exceptions among them. */
  replies: number;
  exceptions: number;
  timeouts: number;
  /** Replies to a request of ours that are no answer to it. */
  mismatches: number;
  /** Frames that answer nothing that is waiting: late, doubled or invented. */
  discarded: number;
  bytesSent: number;
  bytesReceived: number;
}

export function zeroCounters(): Counters {
  return {
    connects: 0,
    requests: 0,
    replies: 0,
    exceptions: 0,
    timeouts: 0,
    mismatches: 0,
    discarded: 0,
    bytesSent: 0,
    bytesReceived: 0,
  };
}
