#include "uplink/dating.h"

#include <utility>

#include "record/redate.h"
#include "uplink/shipper_options.h"

namespace millrace {

Dating::Dating(const ShipperOptions& options, Counter& corrected)
    : options_(options), corrected_(corrected), seen_(options.boots ? options.boots->version() : 0) {}

Duration Dating::left() const { return options_.boots ? options_.clock_wait_left() : Duration{0}; }

bool Dating::correct(Row& row) {
  if (!options_.boots || !options_.boots->may_hold(row.first, row.last())) return false;
  auto redated = redate(*row.columns, row.zstd, *options_.boots, options_.boot_id);
  if (!redated.ok()) return false;  // it goes as it is: the far side, or the dead lane, has the last word
  Redated& done = redated.value();
  corrected_.add(done.corrected);
  if (done.batch) {
    row.zstd = done.batch->zstd;
    row.columns = std::make_shared<const Bytes>(std::move(done.batch->bytes));
  }
  return done.untold;
}

bool Dating::news() {
  return options_.boots && std::exchange(seen_, options_.boots->version()) != options_.boots->version();
}

bool Dating::holds(Lane lane, const Piece& piece) const {
  return piece.undated && lane != Lane::alarm && left().count() > 0;
}

}  // namespace millrace
