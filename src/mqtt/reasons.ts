import { type ErrorCode, SluiceError } from '../core/errors.ts';

interface Meaning {
  readonly says: string;
  readonly remedy: string;
}

const RIGHTS: Meaning = {
  says: 'not authorized',
  remedy: "allow the gateway's certificate name to publish below sluice/<gateway>/ in the ACL of the broker",
};
const CREDENTIALS: Meaning = {
  says: 'it knows no such user',
  remedy: 'let the broker take the user name from the client certificate',
};
const CLIENT_ID: Meaning = {
  says: 'the client identifier is not accepted',
  remedy: 'allow the gateway id as client identifier at the broker',
};
const BUSY: Meaning = {
  says: 'it is not available now',
  remedy: 'wait; the gateway tries again and keeps everything in its outbox',
};

/** Return codes of MQTT 3.1.1, 3.2.2.3, and reason codes of MQTT 5, 2.4. */
const MEANINGS: Readonly<Record<number, Meaning>> = {
  1: { says: 'the protocol version is not accepted', remedy: 'update the broker to MQTT 3.1.1 or newer' },
  2: CLIENT_ID,
  3: BUSY,
  4: CREDENTIALS,
  5: RIGHTS,
  0x84: { says: 'the protocol version is not accepted', remedy: 'update the broker to MQTT 3.1.1 or newer' },
  0x85: CLIENT_ID,
  0x86: CREDENTIALS,
  0x87: RIGHTS,
  0x88: BUSY,
  0x89: BUSY,
  0x8a: { says: 'this client is banned', remedy: 'lift the ban at the broker' },
  0x8b: { says: 'it is shutting down', remedy: 'wait; the gateway tries again' },
  0x8d: {
    says: 'nothing was heard from us in time',
    remedy: 'look at the load of the gateway and the uplink',
  },
  0x8e: {
    says: 'somebody else connected with our client identifier',
    remedy: 'give each gateway an id and a certificate of its own',
  },
  0x90: { says: 'the topic is not accepted', remedy: 'allow sluice/<gateway>/# at the broker' },
  0x93: { says: 'more messages were under way than it takes', remedy: 'report this: its limit is honoured' },
  0x95: { says: 'a message was too large', remedy: 'raise the maximum packet size of the broker' },
  0x97: { says: 'a quota is used up', remedy: 'raise the quota of this client at the broker' },
  0x99: { says: 'the payload is not accepted', remedy: 'look at what the broker checks' },
  0x9a: { says: 'it keeps no retained messages', remedy: 'allow retained messages for status' },
  0x9f: { says: 'connections came too fast', remedy: 'wait; the gateway tries again more slowly' },
};

/** What the broker said no with, as one sentence with a remedy. */
export function refusal(code: number, what: string, as: ErrorCode = 'SETUP'): SluiceError {
  const meaning = MEANINGS[code];
  const hex = `0x${code.toString(16).padStart(2, '0')}`;
  const says = meaning === undefined ? hex : `${meaning.says} (${hex})`;
  return new SluiceError(as, `${what}: ${says}`, {
    remedy: meaning?.remedy ?? 'look into the log of the broker',
  });
}

/** MQTT 5, 3.4.2.1: the broker would take the message at another time. */
export const QUOTA_EXCEEDED = 0x97;

/** Not a word about the message itself: the link is given up and the message sent again later. */
export class QuotaExceeded extends SluiceError {
  constructor(broker: string) {
    super('CONNECTION_LOST', `${broker} refused a message: a quota is used up (0x97)`, {
      remedy: 'raise the quota of this client at the broker',
    });
  }
}
