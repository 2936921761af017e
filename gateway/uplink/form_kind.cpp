#include "uplink/form_kind.h"

#include <algorithm>

#include "base/check.h"

namespace millrace {

const FormKind& form_called(std::string_view name) {
  const ChoiceKinds& forms = built_forms();
  const auto found =
      std::find_if(forms.begin(), forms.end(), [name](const ChoiceKind* kind) { return kind->name == name; });
  MILLRACE_CHECK(found != forms.end());
  return *static_cast<const FormKind*>(*found);
}

}  // namespace millrace
