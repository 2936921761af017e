// The tags of a record: names and values, in the order they were given. Copies share one list, so that the
// thousand records of a payload, or of a batch that is read back, cost the memory of one. Changing a shared
// list makes it one's own first.
#pragma once

#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace millrace {

class Tags {
 public:
  using Tag = std::pair<std::string, std::string>;
  using List = std::vector<Tag>;

  Tags() = default;
  Tags(std::initializer_list<Tag> tags) : Tags(List(tags)) {}
  Tags(List tags) : list_(tags.empty() ? nullptr : std::make_shared<List>(std::move(tags))) {}

  bool empty() const { return !list_; }
  std::size_t size() const { return list_ ? list_->size() : 0; }
  List::const_iterator begin() const { return list().begin(); }
  List::const_iterator end() const { return list().end(); }
  const Tag& operator[](std::size_t i) const { return list()[i]; }
  // A place at the end, to be filled in before the list is copied.
  Tag& emplace_back(std::string_view name = {}, std::string_view value = {}) {
    if (!list_) list_ = std::make_shared<List>();
    else if (list_.use_count() > 1) list_ = std::make_shared<List>(*list_);
    return list_->emplace_back(name, value);
  }
  friend bool operator==(const Tags& a, const Tags& b) { return a.list_ == b.list_ || a.list() == b.list(); }

 private:
  const List& list() const {
    static const List none;
    return list_ ? *list_ : none;
  }
  std::shared_ptr<List> list_;  // never empty
};

}  // namespace millrace
