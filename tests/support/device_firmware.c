/* What a firmware does with the helper of proto/device, as a process: its UART is a tty, its flash a file
 * that outlives it. usage: device_firmware TTY FLASH FRAMES [--noise N]      N: of a thousand frames so many
 * are spoilt, in and out Makes FRAMES frames, each with a number `n`, and ends with 0 when all are
 * acknowledged. */
#define _DEFAULT_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "millrace_device.h"

enum { page_size = 96 };

static uint32_t now_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint32_t)(t.tv_sec * 1000 + t.tv_nsec / 1000000);
}

static unsigned random_state = 1;
static unsigned chance(void) { return (random_state = random_state * 1103515245u + 12345u) >> 16 & 0x7fff; }

typedef struct {
  uint8_t bytes[512];
  size_t used;
} out_bytes;

static void put(void* context, uint8_t byte) {
  out_bytes* out = context;
  if (out->used < sizeof out->bytes) out->bytes[out->used++] = byte;
}

static int write_all(int fd, const uint8_t* bytes, size_t size) {
  while (size > 0) {
    const ssize_t wrote = write(fd, bytes, size);
    if (wrote <= 0) return -1;
    bytes += wrote;
    size -= (size_t)wrote;
  }
  return 0;
}

/* The counters lie in the first page, frames in the pages after it. */
static void save(int flash, const millrace_sender* sender) {
  const uint32_t counters[3] = {sender->stream, sender->oldest, sender->next};
  if (pwrite(flash, counters, sizeof counters, 0) != (ssize_t)sizeof counters) exit(3);
}

int main(int argc, char** argv) {
  if (argc < 4) return 64;
  const uint32_t frames = (uint32_t)strtoul(argv[3], NULL, 10);
  const unsigned noise = argc > 5 ? (unsigned)strtoul(argv[5], NULL, 10) : 0;
  const int tty = open(argv[1], O_RDWR | O_NOCTTY), flash = open(argv[2], O_RDWR | O_CREAT, 0644);
  if (tty < 0 || flash < 0) return 3;
  struct termios port;
  tcgetattr(tty, &port);
  cfmakeraw(&port);
  tcsetattr(tty, TCSANOW, &port);
  random_state = (unsigned)getpid();

  uint32_t counters[3] = {0, 0, 0};
  millrace_sender sender;
  if (pread(flash, counters, sizeof counters, 0) == (ssize_t)sizeof counters)
    millrace_sender_begin(&sender, counters[0], counters[1], counters[2]);
  else millrace_sender_begin(&sender, 0x5eed, 1, 1);
  sender.again_ms = 200;
  millrace_reader reader;
  memset(&reader, 0, sizeof reader);

  while (sender.oldest <= frames) {
    if (sender.next <= frames && sender.next - sender.oldest < 32) { /* a measurement */
      uint8_t page[page_size] = {0};
      millrace_frame frame;
      millrace_frame_begin(&frame, page + 1, sizeof page - 1, sender.stream, sender.next, 0);
      millrace_frame_integer(&frame, "n", sender.next, NULL);
      millrace_frame_real(&frame, "temperature", 21.5f, "C");
      page[0] = (uint8_t)millrace_frame_end(&frame);
      if (pwrite(flash, page, sizeof page, (off_t)sender.next * page_size) != (ssize_t)sizeof page) return 3;
      millrace_sender_added(&sender);
      save(flash, &sender);
    }
    const uint32_t number = millrace_sender_due(&sender, now_ms());
    if (number != 0) {
      uint8_t page[page_size];
      out_bytes out = {{0}, 0};
      if (pread(flash, page, sizeof page, (off_t)number * page_size) != (ssize_t)sizeof page) return 3;
      millrace_send(page + 1, page[0], sender.oldest, put, &out);
      if (chance() % 1000 < noise) out.bytes[chance() % out.used] ^= (uint8_t)(1 + chance() % 255);
      if (write_all(tty, out.bytes, out.used) != 0) return 4;
    }
    struct pollfd ready = {tty, POLLIN, 0};
    const int waiting = number == 0 && (sender.next > frames || sender.next - sender.oldest >= 32) ? 5 : 0;
    if (poll(&ready, 1, waiting) <= 0) continue;
    uint8_t heard[256];
    const ssize_t got = read(tty, heard, sizeof heard);
    if (got <= 0) return 5;
    for (ssize_t i = 0; i < got; ++i) {
      millrace_ack ack;
      const uint8_t byte = chance() % 10000 < noise ? (uint8_t)(heard[i] ^ 0x11) : heard[i];
      if (!millrace_receive(&reader, byte, &ack)) continue;
      millrace_sender_acked(&sender, &ack);
      save(flash, &sender);
    }
  }
  return 0;
}
