// What every namespace of a twin is set to, and how it notes what arrives.

/**
 * What arrives is noted in sets, in a table of its own behind all others. Node has no sockets for ICMP: a datagram with
 * the source port 0x0800 or 0x8000 is made an echo request on its way out, since these are its first two bytes.
 */
export const WATCH = [
  'add table inet twin',
  ...['seen', 'ping', 'pong'].flatMap((set) =>
    ['ipv4_addr', 'ipv6_addr'].map((type) => {
      const more = set === 'seen' ? ' . inet_proto . inet_service' : '';
      const name = `${set}_${type === 'ipv4_addr' ? 4 : 6}`;
      return `add set inet twin ${name} { type ${type} . ${type}${more}; size 65535; flags dynamic; }`;
    }),
  ),
  'add chain inet twin in { type filter hook input priority 300; policy accept; }',
  ...[4, 6].flatMap((family) => {
    const ip = family === 4 ? 'ip' : 'ip6';
    const note = `add @seen_${family} { ${ip} saddr . ${ip} daddr . meta l4proto . th dport }`;
    // Of connections what opens them: others still end when the next packets are under way.
    return ['tcp flags & (syn | ack) == syn', 'meta l4proto udp'].map(
      (what) => `add rule inet twin in meta nfproto ipv${family} ${what} ${note}`,
    );
  }),
  'add rule inet twin in icmp type echo-request add @ping_4 { ip saddr . ip daddr }',
  'add rule inet twin in icmpv6 type echo-request add @ping_6 { ip6 saddr . ip6 daddr }',
  'add rule inet twin in icmp type echo-reply add @pong_4 { ip saddr . ip daddr }',
  'add rule inet twin in icmpv6 type echo-reply add @pong_6 { ip6 saddr . ip6 daddr }',
  'add chain inet twin out { type filter hook output priority -400; policy accept; }',
  'add rule inet twin out ip protocol udp udp sport 2048 ip protocol set 1',
  'add rule inet twin out ip6 nexthdr udp udp sport 32768 ip6 nexthdr set 58',
].join('; ');

/** Who says by ARP that he is whom: in a table that only frames of ARP meet. */
export const HEARD = [
  'add table arp twin',
  'add set arp twin heard { type ipv4_addr . ether_addr; size 65535; flags dynamic; }',
  'add chain arp twin in { type filter hook input priority 0; policy accept; }',
  'add rule arp twin in add @heard { arp saddr ip . arp saddr ether }',
].join('; ');

export const KNOBS = {
  // Without a link-local address, for which a search for duplicates takes seconds, nobody asks for a neighbour.
  'ipv6/conf/all/accept_dad': '0',
  'ipv6/conf/default/accept_dad': '0',
  'ipv4/conf/all/rp_filter': '0',
  'ipv4/conf/default/rp_filter': '0',
  'ipv4/conf/all/send_redirects': '0',
  'ipv4/conf/default/send_redirects': '0',
  // The demonstration plant has addresses of the loopback network.
  'ipv4/conf/all/route_localnet': '1',
  'ipv4/conf/default/route_localnet': '1',
} as const;
export const ROUTER = {
  'ipv4/ip_forward': '1',
  'ipv6/conf/all/forwarding': '1',
  // A bridge carries its frames past the rules of packets, as it does on a machine without Docker.
  'bridge/bridge-nf-call-iptables': '0',
  'bridge/bridge-nf-call-ip6tables': '0',
} as const;
