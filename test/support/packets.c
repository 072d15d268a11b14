/* Sends small UDP packets of any source, as a program that forges them: for a gateway between two namespaces.
 *
 * packets burst MS FROM SPORTS FILE    as many as MS of this process's own time allow, round and round through the
 *                                      targets in FILE ("address port" a line); prints packets, nanoseconds of its
 *                                      own time, and nanoseconds that passed
 * packets paced RATE STOP FROM FILE    RATE a second to each target until the file STOP exists; prints how many each
 * packets once FROM FILE               one packet to each target
 * packets answer TO FILE               one packet from each target back to the first source port of TO
 *
 * SPORTS is how many source ports are used one after the other: 1, or so many that each packet is a new connection.
 * A packet that is forwarded over veth is forwarded in the system call that sends it: its cost is in our own time.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/ip.h>
#include <netinet/udp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { BATCH = 32, PAYLOAD = 18, MOST = 65536, FIRST_PORT = 1024, PORTS = 64000, LONGEST = 900 };

struct packet {
  struct iphdr ip;
  struct udphdr udp;
  char payload[PAYLOAD];
} __attribute__((packed));

static struct { struct in_addr address; unsigned short port; } targets[MOST];
static int count;
static struct packet packets[BATCH];
static struct sockaddr_in names[BATCH];
static struct iovec parts[BATCH];
static struct mmsghdr messages[BATCH];

static void fail(const char *what) {
  perror(what);
  exit(1);
}

static long long now(clockid_t clock) {
  struct timespec t;
  clock_gettime(clock, &t);
  return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void read_targets(const char *file) {
  FILE *in = fopen(file, "r");
  char text[64];
  unsigned port;
  if (!in) fail(file);
  while (count < MOST && fscanf(in, "%63s %u", text, &port) == 2) {
    if (inet_pton(AF_INET, text, &targets[count].address) != 1) fail(text);
    targets[count++].port = htons(port);
  }
  fclose(in);
  if (count == 0) exit(2);
}

static void prepare(const char *from) {
  for (int i = 0; i < BATCH; i++) {
    struct packet *p = &packets[i];
    p->ip.version = 4;
    p->ip.ihl = 5;
    p->ip.ttl = 64;
    p->ip.protocol = IPPROTO_UDP;
    p->ip.tot_len = htons(sizeof *p);
    if (inet_pton(AF_INET, from, &p->ip.saddr) != 1) fail(from);
    p->udp.len = htons(sizeof p->udp + PAYLOAD);
    names[i].sin_family = AF_INET;
    parts[i] = (struct iovec){p, sizeof *p};
    messages[i].msg_hdr = (struct msghdr){&names[i], sizeof names[i], &parts[i], 1, NULL, 0, 0};
  }
}

static void aim(int slot, int target, unsigned sport) {
  struct packet *p = &packets[slot];
  p->ip.daddr = targets[target].address.s_addr;
  names[slot].sin_addr = targets[target].address;
  p->udp.dest = targets[target].port;
  p->udp.source = htons(FIRST_PORT + sport);
}

static void post(int out, int n) {
  for (int done = 0; done < n;) {
    int sent = sendmmsg(out, messages + done, n - done, 0);
    if (sent < 0) fail("sendmmsg");
    done += sent;
  }
}

static void burst(int out, long long ms, int sports) {
  long long own = now(CLOCK_PROCESS_CPUTIME_ID), wall = now(CLOCK_MONOTONIC);
  long long end = own + ms * 1000000, sent = 0, spent;
  unsigned sport = 0;
  int target = 0;
  do {
    for (int i = 0; i < BATCH; i++) {
      aim(i, target, sport);
      if (++target == count) target = 0;
      if (++sport == (unsigned)sports) sport = 0;
    }
    post(out, BATCH);
    sent += BATCH;
    spent = now(CLOCK_PROCESS_CPUTIME_ID);
  } while (spent < end);
  printf("%lld %lld %lld\n", sent, spent - own, now(CLOCK_MONOTONIC) - wall);
}

static void each(int out) {
  for (int target = 0; target < count; target += BATCH) {
    int n = count - target < BATCH ? count - target : BATCH;
    for (int i = 0; i < n; i++) aim(i, target + i, 0);
    post(out, n);
  }
}

static void paced(int out, long long rate, const char *stop) {
  long long begin = now(CLOCK_MONOTONIC), rounds = 0;
  while (rounds % 100 || access(stop, F_OK)) {
    each(out);
    rounds++;
    long long wait = begin + rounds * 1000000000LL / rate - now(CLOCK_MONOTONIC);
    /* Who was not let run for a while sends what is due, but not in one heap that no queue could hold. */
    if (wait < -20000000) begin -= wait + 20000000;
    struct timespec t = {0, wait};
    if (wait > 0) nanosleep(&t, NULL);
  }
  printf("%lld\n", rounds);
}

/* So that each connection is an established one. */
static void answer(int out, const char *to) {
  struct in_addr from;
  if (inet_pton(AF_INET, to, &from) != 1) fail(to);
  for (int target = 0; target < count; target++) {
    aim(0, target, 0);
    struct packet *p = &packets[0];
    p->ip.saddr = targets[target].address.s_addr;
    p->ip.daddr = names[0].sin_addr.s_addr = from.s_addr;
    p->udp.source = targets[target].port;
    p->udp.dest = htons(FIRST_PORT);
    post(out, 1);
  }
}

int main(int argc, char **argv) {
  alarm(LONGEST); /* seconds: nobody may be left to stop it */
  int out = socket(AF_INET, SOCK_RAW, IPPROTO_RAW);
  if (out < 0) fail("socket");
  if (argc == 6 && !strcmp(argv[1], "burst")) {
    prepare(argv[3]);
    read_targets(argv[5]);
    burst(out, atoll(argv[2]), atoi(argv[4]) < PORTS ? atoi(argv[4]) : PORTS);
  } else if (argc == 6 && !strcmp(argv[1], "paced")) {
    prepare(argv[4]);
    read_targets(argv[5]);
    paced(out, atoll(argv[2]), argv[3]);
  } else if (argc == 4 && !strcmp(argv[1], "once")) {
    prepare(argv[2]);
    read_targets(argv[3]);
    each(out);
  } else if (argc == 4 && !strcmp(argv[1], "answer")) {
    prepare(argv[2]);
    read_targets(argv[3]);
    answer(out, argv[2]);
  } else {
    fprintf(stderr, "packets burst MS FROM SPORTS FILE | packets paced RATE STOP FROM FILE | packets once FROM FILE | packets answer TO FILE\n");
    return 64;
  }
  return 0;
}
