/* Readings from a microcontroller to Millrace over a UART, kept by the device until the gateway has them on
 its disk.
 *
 * C99, no allocation, no library, no clock of its own; a few hundred bytes of stack. Copy this file and
 millrace_device.c into
 * the firmware. What goes over the line is proto/device_frame.proto with a CRC-32, stuffed by COBS between
 two zeros.
 *
 *   uint8_t page[128];
 *   millrace_frame frame;
 *   millrace_frame_begin(&frame, page, sizeof page, stream, number, time_us);   // number: sender.next
 *   millrace_frame_real(&frame, "temperature", 21.5f, "C");
 *   size_t size = millrace_frame_end(&frame);                                   // 0: it did not fit
 *   ... write page[0..size) to flash, as frame `number` ...
 *   millrace_sender_added(&sender);
 *
 * In the main loop:
 *
 *   millrace_ack ack;
 *   while (uart_has_byte())
 // erase all before sender.oldest
 *     if (millrace_receive(&reader, uart_byte(), &ack)) millrace_sender_acked(&sender, &ack);
 *   uint32_t number = millrace_sender_due(&sender, now_ms);
 *   if (number != 0) { ... read that frame from flash ... millrace_send(page, size, sender.oldest, put_byte,
 &uart); }
 *
 * A frame may arrive twice when an acknowledgement was lost; the gateway knows it by its number and takes it
 once. When the
 * device has lost its count (flash erased), it takes another stream: a random number that is not 0. */
#ifndef MILLRACE_DEVICE_H
#define MILLRACE_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- a frame */
typedef struct {
  uint8_t* bytes;
  size_t size, used;
  bool full;
} millrace_frame;

/* time_us: since 1970, UTC; 0 where the device has no clock (the gateway then takes the time of arrival). */
void millrace_frame_begin(millrace_frame* frame, uint8_t* bytes, size_t size, uint32_t stream,
                          uint32_t number, int64_t time_us);
/* A reading is added whole or not at all (false: no room; the frame can be ended and holds what it held).
 * unit may be NULL. */
bool millrace_frame_real(millrace_frame* frame, const char* metric, float value, const char* unit);
bool millrace_frame_integer(millrace_frame* frame, const char* metric, int64_t value, const char* unit);
bool millrace_frame_flag(millrace_frame* frame, const char* metric, bool value);
bool millrace_frame_text(millrace_frame* frame, const char* metric, const char* value);
/* Bytes of the frame; 0 when not even its head had room. */
size_t millrace_frame_end(const millrace_frame* frame);

/* Puts a frame on the line. oldest: the number of the first frame that the device still has. */
void millrace_send(const uint8_t* frame, size_t size, uint32_t oldest,
                   void (*put)(void* context, uint8_t byte), void* context);

/* ---- acknowledgements */
typedef struct {
  uint32_t stream, number; /* this frame and all before it are on the gateway's disk */
  int64_t time_us;         /* the gateway's clock, to set one's own by; 0: it does not know */
} millrace_ack;

typedef struct {
  uint8_t bytes[48];
  uint8_t used;
  bool too_long;
} millrace_reader; /* begins as zeros */

/* Takes a byte from the line. True: with it an acknowledgement is complete, and its CRC is right. */
bool millrace_receive(millrace_reader* reader, uint8_t byte, millrace_ack* ack);

/* ---- which frame to send when: several on their way, from the oldest again when nobody answers */
typedef struct {
  uint32_t stream;
  uint32_t oldest,
      next; /* frames [oldest, next) wait in flash; of a new stream both are 1. Keep them over a restart */
  uint32_t window;   /* that may be on their way: 1 to 64 */
  uint32_t again_ms; /* without an acknowledgement: from the oldest again. 1000 is good */
  uint32_t sent;     /* the next to send; begins as oldest */
  uint32_t since_ms; /* of the last progress */
} millrace_sender;

void millrace_sender_begin(millrace_sender* sender, uint32_t stream, uint32_t oldest, uint32_t next);
void millrace_sender_added(millrace_sender* sender);
/* Flash is full: the oldest frame is given up. The gateway counts what it misses. */
void millrace_sender_dropped(millrace_sender* sender);
void millrace_sender_acked(millrace_sender* sender, const millrace_ack* ack);
/* The number of the frame to send now, 0: none. now_ms may wrap. */
uint32_t millrace_sender_due(millrace_sender* sender, uint32_t now_ms);

#ifdef __cplusplus
}
#endif
#endif
