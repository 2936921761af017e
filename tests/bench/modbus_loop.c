/* The bare minimum that polls a Modbus slave: libmodbus in a loop. What the gateway's polling costs is held against it.
 * usage: modbus_loop tcp PORT | rtu DEVICE BAUD  REGISTERS MILLISECONDS SECONDS [SILENCE]
 * MILLISECONDS: between polls; 0: at once. SILENCE: milliseconds behind each answer, which RTU asks for and libmodbus does not keep.
 * A line is first read until it has been silent for as long as libmodbus waits for an answer: who had it before may have asked something.
 * Prints polls, and CPU microseconds a register. 1: it cannot be opened; 2: an answer is wrong, or missing; 3: the line is never silent. */
#include <errno.h>
#include <modbus.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void rest_for(double seconds) {
  const struct timespec wait = {(time_t)seconds, (long)((seconds - (double)(time_t)seconds) * 1e9)};
  if (seconds > 0) nanosleep(&wait, NULL);
}

static double cpu(void) {
  struct rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) + 1e-6 * (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

/* What is late of an answer to somebody else is none to us. False: it does not end. */
static int silent(modbus_t *bus) {
  uint32_t s = 0, us = 0;
  modbus_get_response_timeout(bus, &s, &us);
  struct pollfd line = {modbus_get_socket(bus), POLLIN, 0};
  const double end = now() + 10;
  char bytes[512];
  while (poll(&line, 1, (int)(s * 1000 + us / 1000)) > 0) {
    if (read(line.fd, bytes, sizeof bytes) <= 0 || now() > end) return 0;
  }
  return 1;
}

static int poll_all(modbus_t *bus, int tcp, int registers, double interval, double seconds, double silence) {
  modbus_set_slave(bus, 1);
  if (modbus_connect(bus) != 0) return 1;
  if (!tcp && !silent(bus)) return 3;
  uint16_t values[MODBUS_MAX_READ_REGISTERS];
  unsigned long polls = 0;
  const double begin = now(), before = cpu();
  double next = begin;
  while (now() - begin < seconds) {
    if (modbus_read_registers(bus, 0, registers, values) != registers) {
      fprintf(stderr, "modbus_loop: poll %lu: %s\n", polls + 1, modbus_strerror(errno));
      return 2;
    }
    ++polls;
    next += interval;
    rest_for(next - now());
    rest_for(silence);
  }
  printf("%lu %.6f\n", polls, (cpu() - before) * 1e6 / (double)polls / registers);
  return 0;
}

int main(int argc, char **argv) {
  if (argc < 6) return 64;
  const int tcp = strcmp(argv[1], "tcp") == 0;
  char **rest = argv + (tcp ? 3 : 4);
  modbus_t *bus = tcp ? modbus_new_tcp("127.0.0.1", atoi(argv[2])) : modbus_new_rtu(argv[2], atoi(argv[3]), 'N', 8, 1);
  const int registers = atoi(rest[0]);
  const double interval = atof(rest[1]) / 1000, seconds = atof(rest[2]), silence = argc > (tcp ? 6 : 7) ? atof(rest[3]) / 1000 : 0;
  if (!bus) return 1;
  const int code = poll_all(bus, tcp, registers, interval, seconds, silence);
  modbus_close(bus);
  modbus_free(bus);
  return code;
}
