#include "net/content_coding.h"

#include <zlib.h>
#include <zstd.h>

#include "base/check.h"

namespace millrace {
namespace {

constexpr int level = 6, with_gzip_head = 15 + 16;  // zlib.h: window bits, and which frame
constexpr int memory = 8;                           // 256 KiB while it packs

std::string gzip(std::string_view bytes) {
  z_stream stream{};
  // Fails for want of memory only.
  MILLRACE_CHECK(deflateInit2(&stream, level, Z_DEFLATED, with_gzip_head, memory, Z_DEFAULT_STRATEGY) ==
                 Z_OK);
  std::string out(deflateBound(&stream, static_cast<uLong>(bytes.size())), '\0');
  stream.next_in =
      reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));  // zlib's interface is older than const
  stream.avail_in = static_cast<uInt>(bytes.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  MILLRACE_CHECK(deflate(&stream, Z_FINISH) == Z_STREAM_END);  // the bound holds
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

std::string zstd(std::string_view bytes) {
  std::string out(ZSTD_compressBound(bytes.size()), '\0');
  const std::size_t size = ZSTD_compress(out.data(), out.size(), bytes.data(), bytes.size(), 1);
  MILLRACE_CHECK(ZSTD_isError(size) == 0);  // the bound holds
  out.resize(size);
  return out;
}

}  // namespace

ContentCoding content_coding_of(std::string_view word) {
  return word == "gzip" ? ContentCoding::gzip : word == "zstd" ? ContentCoding::zstd : ContentCoding::none;
}

const char* content_coding_name(ContentCoding coding) {
  static constexpr const char* names[] = {"identity", "gzip", "zstd"};
  return names[static_cast<int>(coding)];
}

std::string packed(ContentCoding coding, std::string bytes) {
  switch (coding) {
    case ContentCoding::none: break;
    case ContentCoding::gzip: return gzip(bytes);
    case ContentCoding::zstd: return zstd(bytes);
  }
  return bytes;
}

}  // namespace millrace
