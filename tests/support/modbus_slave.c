/* Slaves by libmodbus' own server side, for tests: every unit on TCP, or on a tty. What a register holds is
 * written by libmodbus' own functions, so that what the gateway makes of it is held against them.
 *
 * usage: modbus_slave tcp PORT | rtu DEVICE   [dead=UNIT] [only=UNIT] [sunspec=1] [slow=UNIT:MS]
 * [late=EVERY:MS] [noise=EVERY] [count=FILE] late: every so many'th answer comes so much later. noise: before
 * every so many'th answer come bytes that are none. count: how often each unit was asked, a line each, at
 * SIGUSR1. Modes are changed by a line of the same words on standard input ("dead=0").
 *
 * 0..65535 hold their own address, but: 100 the float 12.56 in ABCD, DCBA, BADC, CDAB (two registers each;
 * libmodbus' own names are of the bytes in a little-endian memory: what it calls abcd is BADC on the wire, as
 * its own tests have it); 110 the same of -1234567 as int32 big-endian; 112 int64 -1234567890123; 116
 * "SDM630"; 200..299 unit * 256 + place. Coils 0, 3, 6, ... are on; discrete inputs 1, 4, 7, ... Input
 * registers as holding registers. */
#include <errno.h>
#include <modbus.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <termios.h>
#include <unistd.h>

static int only, sunspec, dead, slow_unit, slow_ms, late_every, late_ms, noise_every;
static unsigned long asked[256], answers;
static char count_file[512];

static void set_mode(char* word) {
  sscanf(word, "dead=%d", &dead);
  sscanf(word, "only=%d", &only);
  sscanf(word, "sunspec=%d", &sunspec);
  sscanf(word, "slow=%d:%d", &slow_unit, &slow_ms);
  sscanf(word, "late=%d:%d", &late_every, &late_ms);
  sscanf(word, "noise=%d", &noise_every);
  sscanf(word, "count=%511s", count_file);
}

static void read_modes(void) {
  char line[256];
  if (!fgets(line, sizeof line, stdin)) exit(0);
  for (char* word = strtok(line, " \n"); word; word = strtok(NULL, " \n")) set_mode(word);
}

static void write_counts(int signal) {
  (void)signal;
  FILE* file = fopen(count_file, "w");
  for (int unit = 0; file && unit < 256; ++unit) fprintf(file, "%lu\n", asked[unit]);
  if (file) fclose(file);
}

static void put_text(uint16_t* at, int registers, const char* text) {
  char bytes[64] = {0};
  snprintf(bytes, sizeof bytes, "%s", text);
  for (int i = 0; i < registers; ++i)
    at[i] = (uint16_t)((unsigned char)bytes[2 * i] << 8 | (unsigned char)bytes[2 * i + 1]);
}

/* A common model and a three-phase inverter, with powers of ten. */
static void fill_sunspec(uint16_t* at) {
  put_text(at, 2, "SunS");
  at[2] = 1, at[3] = 65;
  put_text(at + 4, 16, "Millwright");
  put_text(at + 20, 16, "Rooftop 5");
  put_text(at + 36, 8, "");
  put_text(at + 44, 8, "1.2");
  put_text(at + 52, 16, "0815");
  at[68] = 1;
  at[69] = 103, at[70] = 50;
  uint16_t* m = at + 71;
  for (int i = 0; i < 50; ++i) m[i] = 0;
  m[0] = 1234, m[4] = (uint16_t)-2, m[8] = 2301, m[11] = (uint16_t)-1, m[12] = 421, m[13] = 1, m[14] = 5001,
  m[15] = (uint16_t)-2;
  m[22] = 1, m[23] = 57920, m[24] = 0, m[25] = 50, m[26] = (uint16_t)-1, m[27] = 6015, m[28] = (uint16_t)-1,
  m[29] = 43, m[30] = 2;
  m[31] = 415, m[35] = (uint16_t)-1, m[36] = 4;
  at[121] = 0xFFFF, at[122] = 0;
}

static void fill(modbus_mapping_t* map) {
  for (int i = 0; i < map->nb_registers; ++i) map->tab_registers[i] = (uint16_t)i;
  uint16_t* at = map->tab_registers + 100;
  modbus_set_float_badc(12.56f, at);
  modbus_set_float_cdab(12.56f, at + 2);
  modbus_set_float_abcd(12.56f, at + 4);
  modbus_set_float_dcba(12.56f, at + 6);
  const uint32_t medium = (uint32_t)-1234567;
  for (int i = 0; i < 2; ++i) at[10 + i] = (uint16_t)(medium >> (16 - 16 * i));
  const uint64_t large = (uint64_t)-1234567890123;
  for (int i = 0; i < 4; ++i) at[12 + i] = (uint16_t)(large >> (48 - 16 * i));
  put_text(at + 16, 4, "SDM630");
  if (sunspec) fill_sunspec(map->tab_registers + 40000);
  memcpy(map->tab_input_registers, map->tab_registers, (size_t)map->nb_registers * 2);
  for (int i = 0; i < map->nb_bits; ++i) {
    map->tab_bits[i] = i % 3 == 0;
    map->tab_input_bits[i] = i % 3 == 1;
  }
}

static void answer(modbus_t* bus, modbus_mapping_t* map, const uint8_t* query, int size) {
  const int unit = query[modbus_get_header_length(bus) - 1];
  ++asked[unit];
  if (unit == dead || (only && unit != only)) return;
  if (unit == slow_unit) usleep((useconds_t)slow_ms * 1000);
  ++answers;
  if (late_every && answers % (unsigned long)late_every == 0) usleep((useconds_t)late_ms * 1000);
  if (noise_every && answers % (unsigned long)noise_every == 0) {
    const uint8_t noise[] = {0xFF, 0x00, 0x03, 0x55, 0xAA, 0x7E, 0x01};
    if (write(modbus_get_socket(bus), noise, sizeof noise) < 0) return;
    usleep(2000);
  }
  for (int i = 0; i < 100; ++i) map->tab_registers[200 + i] = (uint16_t)(unit * 256 + i);
  modbus_set_slave(bus, unit);
  modbus_reply(bus, query, size, map);
}

static void serve_tcp(modbus_t* bus, modbus_mapping_t* map) {
  int listening = modbus_tcp_listen(bus, 8);
  if (listening < 0) exit(1);
  struct pollfd fds[32] = {{listening, POLLIN, 0}, {0, POLLIN, 0}};
  int count = 2;
  puts("ready");
  fflush(stdout);
  for (;;) {
    if (poll(fds, (nfds_t)count, -1) < 0) continue;
    if (fds[1].revents) read_modes();
    if (fds[0].revents && count < 32) {
      int fd = accept(listening, NULL, NULL);
      if (fd >= 0) fds[count++] = (struct pollfd){fd, POLLIN, 0};
    }
    for (int i = 2; i < count; ++i) {
      if (!fds[i].revents) continue;
      uint8_t query[MODBUS_TCP_MAX_ADU_LENGTH];
      modbus_set_socket(bus, fds[i].fd);
      const int size = modbus_receive(bus, query);
      if (size > 0) answer(bus, map, query, size);
      if (size >= 0) continue;
      close(fds[i].fd);
      fds[i--] = fds[--count];
    }
  }
}

/* libmodbus takes the frames of one slave only, and the byte that says whose it is cannot be looked at on a
 * tty without being taken. On a socket it can: what comes and goes on the tty is carried by a process of its
 * own. It ends with the line or the slave, and not because one of them has nothing, or takes nothing, just
 * now. */
static void carry_some(int from, int to) {
  uint8_t bytes[512];
  const ssize_t size = read(from, bytes, sizeof bytes);
  if (size < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (size <= 0) _exit(0);
  for (ssize_t at = 0; at < size;) {
    const ssize_t sent = write(to, bytes + at, (size_t)(size - at));
    struct pollfd room = {to, POLLOUT, 0};
    if (sent > 0) at += sent;
    else if (errno != EAGAIN && errno != EINTR) _exit(0);
    else poll(&room, 1, -1);
  }
}

static void carry(int tty, int socket) {
  struct termios line;
  if (tcgetattr(tty, &line) != 0) _exit(1);
  line.c_cc[VMIN] = 1; /* libmodbus has 0: then nothing to read looks like the end */
  if (tcsetattr(tty, TCSANOW, &line) != 0) _exit(1);
  struct pollfd fds[2] = {{tty, POLLIN, 0}, {socket, POLLIN, 0}};
  for (;;) {
    if (poll(fds, 2, -1) < 0) continue;
    for (int i = 0; i < 2; ++i) {
      if (fds[i].revents) carry_some(fds[i].fd, fds[1 - i].fd);
    }
  }
}

static void serve_rtu(modbus_t* bus, modbus_mapping_t* map) {
  int ends[2];
  if (modbus_connect(bus) != 0 || socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0) exit(1);
  const pid_t carrier = fork();
  if (carrier < 0) exit(1);
  if (carrier == 0) {
    close(ends[1]);
    carry(modbus_get_socket(bus), ends[0]);
  }
  close(ends[0]);
  close(modbus_get_socket(bus));
  modbus_set_socket(bus, ends[1]);
  puts("ready");
  fflush(stdout);
  for (;;) {
    struct pollfd fds[2] = {{ends[1], POLLIN, 0}, {0, POLLIN, 0}};
    if (poll(fds, 2, -1) < 0) continue;
    if (fds[1].revents) read_modes();
    if (!fds[0].revents) continue;
    uint8_t unit = 0, query[MODBUS_RTU_MAX_ADU_LENGTH];
    if (recv(ends[1], &unit, 1, MSG_PEEK) <= 0) exit(0);
    modbus_set_slave(bus, unit);
    const int size = modbus_receive(bus, query);
    if (size < 0 && errno == ECONNRESET) exit(0);
    if (size > 0) answer(bus, map, query, size);
    else if (size < 0)
      while (recv(ends[1], query, sizeof query, MSG_DONTWAIT) > 0) {}
  }
}

int main(int argc, char** argv) {
  if (argc < 3) return 64;
  for (int i = 3; i < argc; ++i) set_mode(argv[i]);
  signal(SIGUSR1, write_counts);
  signal(SIGPIPE, SIG_IGN);
  modbus_mapping_t* map = modbus_mapping_new(65536, 65536, 65536, 65536);
  if (!map) return 1;
  fill(map);
  const int tcp = strcmp(argv[1], "tcp") == 0;
  modbus_t* bus =
      tcp ? modbus_new_tcp("127.0.0.1", atoi(argv[2])) : modbus_new_rtu(argv[2], 115200, 'N', 8, 1);
  if (!bus) return 1;
  if (tcp) serve_tcp(bus, map);
  else serve_rtu(bus, map);
  return 0;
}
