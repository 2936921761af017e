#include "decode/formats/sparkplug/inflate.h"

#include <zlib.h>

#include <algorithm>

#include "base/text.h"

namespace millrace::sparkplug {
namespace {

constexpr int any_frame = 15 + 32, bare = -15;  // zlib.h: window bits, and how the frame is found

Status inflate_as(int frame, BytesView given, std::size_t most, Bytes& out) {
  z_stream stream{};
  if (::inflateInit2(&stream, frame) != Z_OK) return {Code::full, "no memory to decompress"};
  stream.next_in = const_cast<Bytef*>(reinterpret_cast<const Bytef*>(given.data()));  // zlib only reads
  stream.avail_in = static_cast<uInt>(given.size());
  int result = Z_OK;
  out.clear();
  while (result == Z_OK) {
    const std::size_t before = out.size();
    out.resize(std::min(most + 1, std::max<std::size_t>(before * 2, 4096)));
    stream.next_out = reinterpret_cast<Bytef*>(out.data() + before);
    stream.avail_out = static_cast<uInt>(out.size() - before);
    result = ::inflate(&stream, Z_NO_FLUSH);
    out.resize(out.size() - stream.avail_out);
    if (out.size() > most) break;
    if (stream.avail_in == 0 && result == Z_OK && stream.avail_out > 0) break;  // it ends too soon
  }
  ::inflateEnd(&stream);
  if (out.size() > most) return {Code::invalid, text("decompressed it is larger than inflated_max = ", most)};
  if (result == Z_STREAM_END) return {};
  return {Code::invalid, "its compressed body cannot be read"};
}

}  // namespace

Status inflate_body(BytesView given, std::size_t most, Bytes& out) {
  if (given.size() > most) return {Code::invalid, "compressed it is larger than inflated_max"};
  Status status = inflate_as(any_frame, given, most, out);
  if (status.ok() || out.size() > most) return status;
  return inflate_as(bare, given, most, out).ok() ? Status{} : status;
}

}  // namespace millrace::sparkplug
