#include "millrace_device.h"

#include <string.h>

/* ---- protobuf, as far as a frame needs it: tags of one byte, varints, fixed32, strings */

static void put_byte(millrace_frame* f, uint8_t byte) {
  if (f->used < f->size) f->bytes[f->used++] = byte;
  else f->full = true;
}

static void put_varint(millrace_frame* f, uint64_t value) {
  while (value >= 0x80) {
    put_byte(f, (uint8_t)(value | 0x80));
    value >>= 7;
  }
  put_byte(f, (uint8_t)value);
}

static void put_fixed32(millrace_frame* f, uint8_t tag, uint32_t value) {
  put_byte(f, tag);
  for (int shift = 0; shift < 32; shift += 8) put_byte(f, (uint8_t)(value >> shift));
}

static void put_string(millrace_frame* f, uint8_t tag, const char* text) {
  const size_t size = text ? strlen(text) : 0;
  if (size == 0) return;
  put_byte(f, tag);
  put_varint(f, size);
  for (size_t i = 0; i < size; ++i) put_byte(f, (uint8_t)text[i]);
}

static uint64_t zigzag(int64_t value) { return ((uint64_t)value << 1) ^ (value < 0 ? UINT64_MAX : 0); }

void millrace_frame_begin(millrace_frame* f, uint8_t* bytes, size_t size, uint32_t stream, uint32_t number,
                          int64_t time_us) {
  f->bytes = bytes;
  f->size = size;
  f->used = 0;
  f->full = false;
  put_fixed32(f, 1 << 3 | 5, stream);
  put_byte(f, 2 << 3);
  put_varint(f, number);
  if (time_us != 0) {
    put_byte(f, 4 << 3);
    put_varint(f, zigzag(time_us));
  }
}

/* A reading is a message of its own, whose size stands before it: a byte is kept for it. */
static size_t reading_begin(millrace_frame* f, const char* metric) {
  const size_t before = f->used;
  put_byte(f, 5 << 3 | 2);
  put_byte(f, 0);
  put_string(f, 1 << 3 | 2, metric);
  return before;
}

static bool reading_end(millrace_frame* f, size_t before, const char* unit) {
  put_string(f, 7 << 3 | 2, unit);
  const size_t size = f->used - before - 2;
  if (f->full || size > 127) {
    f->used = before;
    f->full = false;
    return false;
  }
  f->bytes[before + 1] = (uint8_t)size;
  return true;
}

bool millrace_frame_real(millrace_frame* f, const char* metric, float value, const char* unit) {
  uint32_t bits;
  if (f->full) return false;
  const size_t before = reading_begin(f, metric);
  memcpy(&bits, &value, sizeof bits);
  put_fixed32(f, 2 << 3 | 5, bits);
  return reading_end(f, before, unit);
}

bool millrace_frame_integer(millrace_frame* f, const char* metric, int64_t value, const char* unit) {
  if (f->full) return false;
  const size_t before = reading_begin(f, metric);
  put_byte(f, 4 << 3);
  put_varint(f, zigzag(value));
  return reading_end(f, before, unit);
}

bool millrace_frame_flag(millrace_frame* f, const char* metric, bool value) {
  if (f->full) return false;
  const size_t before = reading_begin(f, metric);
  put_byte(f, 5 << 3);
  put_byte(f, value ? 1 : 0);
  return reading_end(f, before, NULL);
}

bool millrace_frame_text(millrace_frame* f, const char* metric, const char* value) {
  if (f->full) return false;
  const size_t before = reading_begin(f, metric);
  put_string(f, 6 << 3 | 2, value);
  return reading_end(f, before, NULL);
}

size_t millrace_frame_end(const millrace_frame* f) { return f->full ? 0 : f->used; }

/* ---- the line */

static uint32_t crc32_add(uint32_t crc, uint8_t byte) {
  crc ^= byte;
  for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
  return crc;
}

/* The frame, the field that says what is oldest (it changes while the frame lies in flash), and the CRC: as
 * one. */
typedef struct {
  const uint8_t* frame;
  size_t frame_size, size;
  uint8_t tail[10];
} line_bytes;

static uint8_t byte_at(const line_bytes* line, size_t at) {
  return at < line->frame_size ? line->frame[at] : line->tail[at - line->frame_size];
}

void millrace_send(const uint8_t* frame, size_t size, uint32_t oldest,
                   void (*put)(void* context, uint8_t byte), void* context) {
  line_bytes line = {frame, size, 0, {0}};
  millrace_frame tail = {line.tail, sizeof line.tail, 0, false};
  put_byte(&tail, 3 << 3);
  put_varint(&tail, oldest);
  line.size = size + tail.used;
  uint32_t crc = 0xffffffffu;
  for (size_t i = 0; i < line.size; ++i) crc = crc32_add(crc, byte_at(&line, i));
  crc = ~crc;
  for (int shift = 0; shift < 32; shift += 8) put_byte(&tail, (uint8_t)(crc >> shift));
  line.size = size + tail.used;

  put(context, 0); /* what noise has put on the line is no part of the frame */
  size_t at = 0;
  for (;;) {
    size_t run = 0;
    while (run < 254 && at + run < line.size && byte_at(&line, at + run) != 0) ++run;
    put(context, (uint8_t)(run + 1));
    for (size_t i = 0; i < run; ++i) put(context, byte_at(&line, at + i));
    at += run;
    if (at == line.size) break;
    if (run < 254) ++at; /* the zero that the next code stands for; it may be the last byte */
  }
  put(context, 0);
}

static size_t unstuff(uint8_t* bytes, size_t size) {
  size_t from = 0, to = 0;
  while (from < size) {
    const size_t code = bytes[from++];
    if (code == 0 || from + code - 1 > size) return 0;
    for (size_t i = 1; i < code; ++i) bytes[to++] = bytes[from++];
    if (code != 0xff && from < size) bytes[to++] = 0;
  }
  return to;
}

static bool take_varint(const uint8_t** at, const uint8_t* end, uint64_t* value) {
  *value = 0;
  for (unsigned shift = 0; shift < 64 && *at < end; shift += 7) {
    const uint8_t byte = *(*at)++;
    *value |= (uint64_t)(byte & 0x7f) << shift;
    if (byte < 0x80) return true;
  }
  return false;
}

static bool read_ack(const uint8_t* at, const uint8_t* end, millrace_ack* ack) {
  memset(ack, 0, sizeof *ack);
  while (at < end) {
    uint64_t value = 0;
    const uint8_t tag = *at++;
    switch (tag & 7) {
      case 0:
        if (!take_varint(&at, end, &value)) return false;
        break;
      case 1:
        if (end - at < 8) return false;
        at += 8;
        break;
      case 2:
        if (!take_varint(&at, end, &value) || value > (uint64_t)(end - at)) return false;
        at += value;
        break;
      case 5:
        if (end - at < 4) return false;
        value = (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
        at += 4;
        break;
      default: return false;
    }
    if (tag == (1 << 3 | 5)) ack->stream = (uint32_t)value;
    if (tag == 2 << 3) ack->number = (uint32_t)value;
    if (tag == 3 << 3) ack->time_us = (int64_t)(value >> 1) ^ -(int64_t)(value & 1);
  }
  return ack->stream != 0;
}

bool millrace_receive(millrace_reader* reader, uint8_t byte, millrace_ack* ack) {
  if (byte != 0) {
    if (reader->used < sizeof reader->bytes) reader->bytes[reader->used++] = byte;
    else reader->too_long = true;
    return false;
  }
  const size_t size = reader->too_long ? 0 : unstuff(reader->bytes, reader->used);
  reader->used = 0;
  reader->too_long = false;
  if (size < 5) return false;
  uint32_t crc = 0xffffffffu;
  for (size_t i = 0; i < size - 4; ++i) crc = crc32_add(crc, reader->bytes[i]);
  crc = ~crc;
  for (size_t i = 0; i < 4; ++i) {
    if (reader->bytes[size - 4 + i] != (uint8_t)(crc >> 8 * i)) return false;
  }
  return read_ack(reader->bytes, reader->bytes + size - 4, ack);
}

/* ---- which frame when */

void millrace_sender_begin(millrace_sender* s, uint32_t stream, uint32_t oldest, uint32_t next) {
  s->stream = stream;
  s->oldest = s->sent = oldest;
  s->next = next;
  s->window = 8;
  s->again_ms = 1000;
  s->since_ms = 0;
}

void millrace_sender_added(millrace_sender* s) { ++s->next; }

void millrace_sender_dropped(millrace_sender* s) {
  if (s->oldest == s->next) return;
  ++s->oldest;
  if (s->sent < s->oldest) s->sent = s->oldest;
}

void millrace_sender_acked(millrace_sender* s, const millrace_ack* ack) {
  if (ack->stream != s->stream || ack->number < s->oldest || ack->number >= s->next) return;
  s->oldest = ack->number + 1;
  if (s->sent < s->oldest) s->sent = s->oldest;
  s->since_ms = 0; /* the next call of due() notes the time */
}

uint32_t millrace_sender_due(millrace_sender* s, uint32_t now_ms) {
  if (s->oldest == s->next) return 0;
  if (s->since_ms == 0 || s->sent == s->oldest) s->since_ms = now_ms | 1;
  if (now_ms - s->since_ms >= s->again_ms && (int32_t)(now_ms - s->since_ms) > 0) {
    s->sent = s->oldest;
    s->since_ms = now_ms | 1;
  }
  if (s->sent == s->next || s->sent - s->oldest >= s->window) return 0;
  return s->sent++;
}
