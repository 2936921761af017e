// A dialect of [[uplinks.https]]: how records become a request, and what an answer means for them. Pure: no
// clock, no I/O, no state; what it needs of the moment is handed in. One dialect is a file in
// uplink/https/dialects and a line in the build; its keys stand beside `dialect`.
//
// The far side's word decides, never its status alone: a dialect says `acknowledged` for the one answer that
// its server gives to what it has stored, and for nothing else that somebody on the way might say.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "config/keys.h"
#include "log/log.h"
#include "net/http_connection.h"
#include "net/needed_files.h"
#include "uplink/form_kind.h"
#include "uplink/uplink.h"

namespace millrace {

// A record on its way; of a dialect of rows a whole row, and then there is no record.
struct DialectItem {
  Sequence sequence = 0;
  Lane lane = Lane::raw;
  const Record* record = nullptr;
  const Row* row = nullptr;
};

// What a request carries, in the order of its numbers. Not every number between the first and the last need
// be among them.
struct Carried {
  Lane lane = Lane::raw;
  Sequence first = 0, last = 0;
  std::uint32_t items = 0;  // as add() took them
  std::uint64_t records = 0;
  bool replay = false;
  WallTime begin{};  // of its first record; for dialects that are dated()
};

struct DialectMoment {
  WallTime wall;       // of the far side as far as it is known, for signatures
  std::string secret;  // what lies in the dialect's own secret
  std::string token;   // as token() made it last
};

// What requests carry beside themselves, where making it costs more than a request.
struct DialectToken {
  std::string value;
  Duration good_for{};  // on our own monotonic clock
};

struct DialectOutcome {
  Verdict verdict = Verdict::acknowledged;
  // Where the far side answers item by item: a verdict each. Empty: `verdict` is everybody's.
  std::vector<Verdict> items;
  std::string reason;
  bool too_large = false;  // as in Outcome
  bool doubtful = false;
};

class Dialect {
 public:
  struct Limits {
    std::size_t body_max = 1 << 20;  // one item alone may have more; TLS and the socket hold as much again
    std::uint32_t items_max = 100'000;
  };
  virtual ~Dialect() = default;

  virtual Limits limits() const { return {}; }
  virtual bool of_rows() const { return false; }
  // At least from one request to the next while less than a full batch waits, where requests cost. Zero: at
  // once.
  virtual Duration every() const { return {}; }
  // Whether a request says when its first record was: of a row that costs reading it.
  virtual bool dated() const { return false; }
  // Whether it has a form for what a record is at all. What it has none for by nature, as a protocol of
  // numbers for a text, is passed over: that is no fault of anybody, and sent again it would be the same.
  virtual bool takes(const Record& record) const {
    (void)record;
    return true;
  }
  // Appends an item to the body. Else it has no form in this dialect, and never will: it is refused with
  // these words, and `body` is as it was.
  virtual Status add(const DialectItem& item, std::string& body) const = 0;
  // Made anew when it is over, when the secret is another, and when the far side did not take it. `invalid`:
  // as of request().
  virtual Result<DialectToken> token(const DialectMoment& moment) const {
    (void)moment;
    return DialectToken{};
  }
  // The request for what was added. `invalid`: the secret cannot be used.
  virtual Result<HttpAsk> request(std::string body, const Carried& what,
                                  const DialectMoment& moment) const = 0;
  virtual DialectOutcome outcome(const HttpReply& reply, const Carried& what) const = 0;
  // Something that the server answers and that changes nothing: proves a connection.
  virtual HttpAsk probe() const = 0;
};

struct DialectParts {
  std::string gateway;
  std::uint64_t epoch = 0;
  std::string host;                              // of the server, as it is sent
  std::string path;                              // of the server, in front of every target
  Duration patience = std::chrono::seconds(30);  // for an answer, once the server has all of a request
};

struct AwsAccess;
struct DialectKind : ChoiceKind {
  std::unique_ptr<Dialect> (*make)(const void* values, const DialectParts& parts) = nullptr;
  // Its own secret, where it signs requests: then it takes no other login.
  const SecretRef& (*secret)(const void* values) = nullptr;
  const char* secret_key = "";
  const AwsAccess* (*access)(const void* values) = nullptr;  // whose secret may be a role's (aws_role.h)
  const char* token_scheme = "Bearer";                       // of the Authorization header, before a token
  // Why its requests must come one after the other, as they are configured: what it promises of their order,
  // in words that go on after its name, with the key that gives it up if there is one. Null: nothing is
  // promised, and an uplink may have several connections.
  const char* (*in_order)(const void* values) = nullptr;
  bool packs = false;  // its servers read bodies that are packed (net/content_coding.h)
  // What it passes over by nature, in words; empty: nothing.
  const char* passes_over = "";
};

// Those that are built, "generic" among them. Made by the build.
const ChoiceKinds& built_dialects();
inline const DialectKind& kind_of(const Chosen& dialect) {
  return *static_cast<const DialectKind*>(dialect.kind);
}

// C: the struct of its keys; D: takes it and its parts.
template <typename C, typename D>
constexpr DialectKind dialect_kind(std::string_view name, const char* help, const Shape& shape) {
  DialectKind kind;
  kind.name = name;
  kind.help = help;
  kind.shape = &shape;
  kind.make_values = [] { return std::shared_ptr<void>(std::make_shared<C>()); };
  kind.make = [](const void* values, const DialectParts& parts) -> std::unique_ptr<Dialect> {
    return std::make_unique<D>(*static_cast<const C*>(values), parts);
  };
  return kind;
}

// One that signs what it sends with a secret of its own: `Secret` is the member of C that the key
// `secret_key` fills.
template <typename C, typename D, SecretRef C::*Secret>
constexpr DialectKind signing_dialect_kind(std::string_view name, const char* help, const Shape& shape,
                                           const char* secret_key) {
  DialectKind kind = dialect_kind<C, D>(name, help, shape);
  kind.secret = [](const void* values) -> const SecretRef& { return static_cast<const C*>(values)->*Secret; };
  kind.secret_key = secret_key;
  return kind;
}

// Appends one item as a message that nothing stands beside; of a form of rows a dialect is of_rows(), too. On
// error `out` is as it was.
Status append_item(const FormKind& form, const DialectParts& parts, const DialectItem& item,
                   std::string& out);

// What a status means where a dialect knows nothing better. 2xx is none of its business: `retryable`.
Verdict verdict_of_status(int status);
// The outcome of it, with the server's words.
DialectOutcome outcome_of_status(const HttpReply& reply);
// "HTTP 503: the first words of the body"; what is no text is shown escaped.
std::string words_of(const HttpReply& reply);
// A success that could be somebody else's: what was sent is sent again.
DialectOutcome not_believed(const HttpReply& reply);
// A question without a body.
inline HttpAsk question(std::string method, std::string target) {
  HttpAsk ask;
  ask.method = std::move(method);
  ask.target = std::move(target);
  return ask;
}
// Whether the body is a page for people: a captive portal, a proxy's complaint.
bool is_page(const HttpReply& reply);

}  // namespace millrace
