/* The bare minimum that polls a Modbus slave: libmodbus in a loop. What the gateway's polling costs is held against it.
 * usage: modbus_loop tcp PORT | rtu DEVICE BAUD  REGISTERS MILLISECONDS SECONDS [SILENCE]
 * MILLISECONDS: between polls; 0: at once. SILENCE: milliseconds behind each answer, which RTU asks for and libmodbus does not keep.
 * Prints polls, and CPU microseconds a register. */
#include <errno.h>
#include <modbus.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

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

int main(int argc, char **argv) {
  if (argc < 6) return 64;
  const int tcp = strcmp(argv[1], "tcp") == 0;
  char **rest = argv + (tcp ? 3 : 4);
  modbus_t *bus = tcp ? modbus_new_tcp("127.0.0.1", atoi(argv[2])) : modbus_new_rtu(argv[2], atoi(argv[3]), 'N', 8, 1);
  const int registers = atoi(rest[0]);
  const double interval = atof(rest[1]) / 1000, seconds = atof(rest[2]), silence = argc > (tcp ? 6 : 7) ? atof(rest[3]) / 1000 : 0;
  modbus_set_slave(bus, 1);
  if (modbus_connect(bus) != 0) return 1;
  uint16_t values[MODBUS_MAX_READ_REGISTERS];
  unsigned long polls = 0;
  const double begin = now(), before = cpu();
  double next = begin;
  while (now() - begin < seconds) {
    if (modbus_read_registers(bus, 0, registers, values) != registers) return 2;
    ++polls;
    next += interval;
    rest_for(next - now());
    rest_for(silence);
  }
  printf("%lu %.6f\n", polls, (cpu() - before) * 1e6 / (double)polls / registers);
  return 0;
}
