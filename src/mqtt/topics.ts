/**
 * Topics of DESIGN 5.3. Everything of a gateway lies below `sluice/<gateway>/`; this is the only place that joins or
 * splits them, so that a name with a slash or a wildcard can never leave its level.
 */

/** Names of gateways, devices and points as configuration allows them; also of clients in certificates. */
export const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;

/** Longest topic filter that a client may ask for; ours are three levels of at most 64 characters. */
export const MAX_FILTER_LENGTH = 256;

/** One level of a topic. Throws where the name would be read as something else (MQTT 3.1.1, 4.7.1). */
export function topicLevel(name: string): string {
  if (!NAME.test(name)) throw new RangeError(`${JSON.stringify(name)} cannot be a level of a topic`);
  return name;
}

/** `sluice/<gateway>/`, in front of every topic. */
export function topicRoot(gateway: string): string {
  return `sluice/${topicLevel(gateway)}/`;
}

/** Below the root. */
export const STATUS = 'status';
export const COMMANDS = 'command/+/+';

export function resultTopic(device: string, point: string): string {
  return `result/${topicLevel(device)}/${topicLevel(point)}`;
}

/** Device and point of `command/<device>/<point>` below `root`; undefined for any other topic. */
export function parseCommandTopic(
  root: string,
  topic: string,
): { readonly device: string; readonly point: string } | undefined {
  if (!topic.startsWith(root)) return undefined;
  const [kind, device = '', point = '', ...rest] = topic.slice(root.length).split('/');
  if (kind !== 'command' || rest.length > 0 || !NAME.test(device) || !NAME.test(point)) return undefined;
  return { device, point };
}

/** Why a filter is refused, or undefined where it stays below `root` (which excludes `#`, `$SYS/…`, `$share/…`). */
export function filterProblem(root: string, filter: string): string | undefined {
  if (filter.length > MAX_FILTER_LENGTH) return `is longer than ${MAX_FILTER_LENGTH} characters`;
  if (!filter.startsWith(root)) return `is not below ${root}`;
  const levels = filter.split('/');
  for (const [index, level] of levels.entries()) {
    const wildcard = level === '+' || (level === '#' && index === levels.length - 1);
    if (!wildcard && /[#+\0]/.test(level)) return 'has + or # where MQTT does not allow it';
  }
  return undefined;
}

/**
 * A matcher of one filter (MQTT 3.1.1, 4.7.1). Filters here never begin with a wildcard, so `$` needs no care.
 * `#` includes its parent level.
 */
export function topicMatcher(filter: string): (topic: string) => boolean {
  if (!/[+#]/.test(filter)) return (topic) => topic === filter;
  const pattern = filter
    .split('/')
    .map((level) => (level === '+' ? '[^/]*' : level.replace(/[.*?^${}()|[\]\\]/g, '\\$&')))
    .join('/')
    .replace(/\/#$/, '(?:/.*)?');
  const expression = new RegExp(`^${pattern}$`, 's');
  return (topic) => expression.test(topic);
}
