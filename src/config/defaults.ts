/** Every default of gateway.yaml, as a person would write it. */
export const DEFAULTS = {
  data: './data',
  embedded: '127.0.0.1:8883',
  mqttsPort: 8883, // registered with IANA as secure-mqtt
  everyModbus: '1s',
  everyCoap: '60s',
  timeoutModbus: '1s',
  /**
   * Limit of one CoAP exchange. RFC 7252, 4.8 retransmits after 2 to 3 s and doubles: the last of three repetitions
   * leaves after 21 s at the latest, and 30 s leave its answer nine seconds. MAX_TRANSMIT_WAIT (93 s) would outlast
   * the default period.
   */
  timeoutCoap: '30s',
  inFlight: 1,
  minInterval: '0s',
  heartbeat: '15m',
  retention: { raw: '7d', minute: '90d', hour: '5y', disk: '2GB' },
  /** Nobody at a screen notices it, and a small plant writes some gigabytes of flash a day with it. */
  commitEvery: '250ms',
  /** Devices of a zone share its need for security, not a need to talk. */
  within: 'deny',
  /** A zone of which no hardware address is known: whoever wrote none wants its devices to go on. */
  unknownMacs: 'allow',
  /** Nobody who wrote nothing about segmentation wants the kernel touched. */
  mode: 'off',
  confirmWithin: '120s',
  /** Whoever writes a guard wants one that holds. */
  guardGrade: 'enforced',
  /** A flushed table is an open network, and nobody is on site; decision 18. */
  heal: true,
} as const;
