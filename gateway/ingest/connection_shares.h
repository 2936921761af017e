// How many devices may be connected at once, all endpoints together: what the process's descriptors leave
// beside its own needs. Where that is less than the endpoints' connections_max together, each gets its part
// of it, so that a crowd at one door does not close the other. The parts follow as endpoints come and go. On
// the loop.
#pragma once

#include <cstddef>
#include <cstdint>
#include <list>
#include <memory>

namespace millrace {

class ConnectionShares {
 public:
  class Share {  // destroying it gives the part back
   public:
    ~Share() { shares_.wanted_.erase(wanted_); }
    Share(const Share&) = delete;
    // How many may be open now. May be less than are open: nobody is sent away for that, nobody new is let in
    // either.
    std::size_t allowed() const;
    std::size_t wanted() const { return *wanted_; }
    // Descriptors that are missing until everybody may have what he wants.
    std::size_t lacking() const;

   private:
    friend class ConnectionShares;
    Share(ConnectionShares& shares, std::size_t wanted)
        : shares_(shares), wanted_(shares.wanted_.insert(shares.wanted_.end(), wanted)) {}
    ConnectionShares& shares_;
    std::list<std::size_t>::iterator wanted_;
  };

  explicit ConnectionShares(std::size_t total) : total_(total) {}
  void set_total(std::size_t total) { total_ = total; }
  std::unique_ptr<Share> join(std::size_t wanted) { return std::unique_ptr<Share>(new Share(*this, wanted)); }

 private:
  std::uint64_t all_wanted() const;

  std::size_t total_;
  std::list<std::size_t> wanted_;
};

}  // namespace millrace
