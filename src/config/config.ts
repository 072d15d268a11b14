import type { Bytes, Duration, EpochMs } from '../core/units.ts';

/** What gateway.yaml says, checked, with every default filled in. Immutable. DESIGN 5.1 names the keys. */
export interface Config {
  /** Absolute path of the file. */
  readonly file: string;
  readonly gateway: { readonly id: string /** Absolute path. */; readonly data: string };
  readonly mqtt: {
    readonly embedded: Listen | undefined;
    readonly upstream: Upstream | undefined;
    readonly publish: { readonly telemetry: readonly string[]; readonly event: readonly string[] };
  };
  /** Where pushing CoAP devices reach the gateway; undefined where nothing pushes. */
  readonly coap: { readonly listen: Listen } | undefined;
  readonly zones: readonly Zone[];
  /** How the VLANs come into being; undefined where others see to that. */
  readonly network: Network | undefined;
  readonly conduits: readonly Conduit[];
  readonly devices: readonly DeviceConfig[];
  /** Every point of every device; a point is its index in this table everywhere in the house. */
  readonly points: readonly PointConfig[];
  readonly telemetry: {
    readonly retention: {
      readonly raw: Duration;
      readonly minute: Duration;
      readonly hour: Duration;
      readonly disk: Bytes;
    };
    /** Journal rows that wait for an acknowledgement may take this much; default a quarter of `retention.disk`. */
    readonly outbox: Bytes;
    /** Longest wait of a sample for its commit. */
    readonly commitEvery: Duration;
  };
  readonly segmentation: {
    readonly mode: 'off' | 'observe' | 'enforce';
    readonly confirmWithin: Duration;
    /** From then on mode observe is enforce. */
    readonly observeUntil: EpochMs | undefined;
    /** Flows that have to carry new connections after a change: kinds, or names of conduits. */
    readonly mustWork: readonly string[];
    readonly mustWorkWithin: Duration;
    /** Is what another program changed in our tables put right? */
    readonly heal: boolean;
    /** Who always reaches the gateway; never undefined where the mode is enforce. */
    readonly management: Management | undefined;
  };
}

export interface Listen {
  readonly host: string;
  readonly port: number;
}

export interface Upstream {
  readonly url: string;
  readonly host: string;
  readonly port: number;
  /** Absolute paths. Without `cert` and `key` the gateway shows the certificate of its own local CA. */
  readonly ca: string;
  readonly cert: string | undefined;
  readonly key: string | undefined;
}

export interface Zone {
  readonly name: string;
  readonly vlan: number | undefined;
  /** Canonical and disjoint; empty where the zone has every address that no other one has. */
  readonly subnets: readonly string[];
  readonly interface: string | undefined;
  /** Of the gateway in the zone, with the length of the subnet: `10.20.10.1/24`. */
  readonly addresses: readonly string[];
  /** Access ports on a bridge, untagged. */
  readonly ports: readonly string[];
  /** May hardware addresses of no device send into its ports? */
  readonly unknownMacs: 'deny' | 'allow';
  readonly purdue: number | undefined;
  readonly securityLevel: number | undefined;
  /** May its devices reach one another through the gateway? */
  readonly within: 'allow' | 'deny';
}

/** VLANs as interfaces on a trunk, or on a bridge between the access ports of zones and trunks. */
export type Network =
  | { readonly kind: 'trunk'; readonly trunk: string }
  | { readonly kind: 'bridge'; readonly name: string; readonly trunks: readonly string[] };

export interface Conduit {
  readonly from: string;
  readonly to: string;
  readonly allow: readonly string[];
  readonly because: string;
  /** Until then nothing is denied between these two zones in this direction. */
  readonly observeUntil: EpochMs | undefined;
  /** What of the zones is meant; an empty list is all of it. */
  readonly only: { readonly from: readonly Selector[]; readonly to: readonly Selector[] };
  /** What of Modbus passes; undefined where Modbus is not looked into. */
  readonly guard: ModbusGuard | undefined;
}

/** What requests may do; whatever is not listed they may not. */
export interface ModbusGuard {
  /** enforced: connections end in the gateway, which asks the device itself; filtered: packets are looked at one by one. */
  readonly grade: 'enforced' | 'filtered';
  /** Undefined: every unit that the devices of the conduit stand for. */
  readonly units: readonly Span[] | undefined;
  readonly read: readonly TableSpan[];
  readonly write: readonly TableSpan[];
}

/** From `low` to `high`, both inclusive. */
export interface Span {
  readonly low: number;
  readonly high: number;
}

/** Zero-based addresses of one table. */
export interface TableSpan extends Span {
  readonly table: ModbusTable;
}

/** A part of a zone: one device, all devices of a class, or addresses as a canonical subnet. */
export interface Selector {
  readonly kind: 'device' | 'class' | 'subnet';
  readonly text: string;
}

export interface Management {
  readonly zone: string;
  /** Canonical subnets. */
  readonly from: readonly string[];
  readonly allow: readonly string[];
}

export interface DeviceConfig {
  readonly name: string;
  readonly class: string;
  readonly zone: string;
  readonly mac: string | undefined;
  /** Access port that it is plugged in at; undefined: any of its zone. */
  readonly port: string | undefined;
  readonly endpoint: Endpoint;
  /** Longest wait for one reply. */
  readonly timeout: Duration;
  /** Indices into `Config.points`, in the order of the file. */
  readonly points: readonly number[];
}

export type Endpoint =
  | {
      readonly protocol: 'modbus-tcp' | 'modbus-rtu-tcp';
      readonly host: string;
      readonly port: number;
      readonly unit: number;
      /** Transactions at a time on one connection, 1 to 16 (Modbus Messaging Guide V1.0b, 4.4.1.2). */
      readonly inFlight: number;
    }
  | {
      readonly protocol: 'modbus-rtu';
      readonly path: string;
      readonly baud: number;
      readonly parity: 'none' | 'even' | 'odd';
      readonly unit: number;
    }
  | { readonly protocol: 'coap' | 'coaps'; readonly host: string; readonly port: number };

export type ModbusTable = 'coil' | 'discrete' | 'input' | 'holding';
export type ModbusType =
  | 'bool' | 'int16' | 'uint16' | 'int32' | 'uint32' | 'int64' | 'uint64' | 'float32' | 'float64'
  | 'string' | 'bcd16' | 'bcd32'; // biome-ignore format: one line reads better
export type ByteOrder = 'ABCD' | 'CDAB' | 'BADC' | 'DCBA';

export interface ModbusSource {
  readonly kind: 'modbus';
  readonly table: ModbusTable;
  /** Zero-based, as on the wire. */
  readonly address: number;
  /** Bit of a register, 0 is the least significant; undefined where the whole register is meant. */
  readonly bit: number | undefined;
  readonly type: ModbusType;
  /** Registers (input, holding) or bits (coil, discrete) that the value takes. */
  readonly length: number;
  /** Bytes of a `string(n)`; 0 for other types. */
  readonly characters: number;
  readonly order: ByteOrder;
}

export interface CoapSource {
  readonly kind: 'coap';
  /** Path on the device, with query, as in `/sensors/level?u=m`; for a pushed point the path on the gateway. */
  readonly path: string;
  /** poll: GET every period; observe: RFC 7641; push: the device POSTs or PUTs to `/<device>/<point>`. */
  readonly mode: 'poll' | 'observe' | 'push';
  /** auto: by Content-Format of the response (RFC 7252, 12.3); text where it has none. */
  readonly format: 'auto' | 'text' | 'json' | 'cbor' | 'senml-json' | 'senml-cbor';
  /** JSON pointer (RFC 6901) into a JSON or CBOR payload. */
  readonly pointer: string | undefined;
  /** Resolved SenML name; undefined takes the only record of the pack. */
  readonly record: string | undefined;
  readonly type: 'number' | 'bool' | 'string';
}

export interface PointConfig {
  readonly index: number;
  readonly device: string;
  readonly name: string;
  readonly source: ModbusSource | CoapSource;
  /** Period of a poll; for observe and push the longest silence that is normal. */
  readonly every: Duration;
  readonly unit: string | undefined;
  /** value = raw × scale + offset. */
  readonly scale: number;
  readonly offset: number;
  readonly span: { readonly low: number; readonly high: number } | undefined;
  readonly report: {
    readonly deadband: Deadband | undefined;
    readonly minInterval: Duration;
    readonly heartbeat: Duration;
  };
  readonly writable: boolean;
  /** Limits of a command, in the unit of the point. */
  readonly min: number | undefined;
  readonly max: number | undefined;
  /** Does `mqtt.publish` let it go up? */
  readonly published: boolean;
  /** Are its values kept in the history? Where not, they go up and to flows, and nothing is left of them here. */
  readonly recorded: boolean;
}

export type Deadband =
  | { readonly kind: 'absolute'; readonly width: number }
  | { readonly kind: 'span-percent'; readonly width: number } // already multiplied by the span: an absolute width
  | { readonly kind: 'value-percent'; readonly percent: number };

/** `file:line:column: path: found; fix`, as DESIGN 5.1 has it. Lines and columns count from 1. */
export interface Problem {
  readonly file: string;
  readonly line: number;
  readonly column: number;
  readonly path: string;
  readonly found: string;
  readonly fix: string;
}
