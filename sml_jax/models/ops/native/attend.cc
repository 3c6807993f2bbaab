// Attention of new tokens over a cache and over each other, float32. Each row reads only the slots that hold its tokens,
// while a product over whole caches reads as many slots for every row as the longest row has.
//
// Built by ../native_build.py; called through jax.ffi by ../cached_attention_native.py, whose docstring gives the shapes.

#include <algorithm>
#include <cstdint>

#include "attend_few.h"
#include "attend_many.h"
#include "crew.h"
#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

namespace {

using sml_jax::Problem;
using sml_jax::Slots;

template <int kDim>
void Row(const Problem& p, const float* query, const Slots& kept, const Slots& fresh, int64_t slot, float* out) {
  const auto row = p.queries() < 8 ? sml_jax::RowOfFew<kDim> : sml_jax::RowOfMany<kDim>;
  row(p, query, kept, fresh, slot, out);
}

using Array = ffi::Buffer<ffi::F32>;
using Numbers = ffi::Buffer<ffi::S32>;

ffi::Error Attend(ffi::ThreadPool pool, Array query, Array keys, Array values, Numbers rows, Numbers start,
                  Array fresh_keys, Array fresh_values, Numbers slot, ffi::Buffer<ffi::PRED> is_local, ffi::ResultBuffer<ffi::F32> out,
                  int64_t window, float scale, float softcap, bool shared) {
  const auto q = query.dimensions(), k = keys.dimensions(), f = fresh_keys.dimensions();
  const int64_t all = k[0], capacity = k[1], kv_heads = k[2], room = f[1], at = slot.typed_data()[0];
  const int64_t parts = shared ? std::clamp<int64_t>(sml_jax::Crew::Size(pool) / q[0], 1, kv_heads) : 1;
  const bool local = is_local.typed_data()[0];
  const Problem whole{q[1], q[2], q[3], kv_heads, local ? window : 0, scale, softcap, kv_heads};
  if (whole.dim % 16 || f[0] != q[0] || at < 0 || at + whole.time > room)
    return ffi::Error::InvalidArgument("attend: shapes");
  const auto attend = whole.dim == 32    ? Row<32>
                      : whole.dim == 64  ? Row<64>
                      : whole.dim == 128 ? Row<128>
                      : whole.dim == 256 ? Row<256>
                                         : Row<0>;
  // One part of the work: some kv heads of one row.
  const auto run = [&](int64_t part) {
    const int64_t i = part / parts, first = kv_heads * (part % parts) / parts;
    Problem p = whole;
    p.kv_heads = kv_heads * (part % parts + 1) / parts - first;
    const int64_t row = std::clamp<int64_t>(rows.typed_data()[i], 0, all - 1);
    const int64_t held = std::clamp<int64_t>(start.typed_data()[i], 0, capacity);
    // Slots that no query of a local layer can see are not read.
    const int64_t from = p.window ? std::clamp<int64_t>(held + at - p.window + 1, 0, held) : 0;
    const int64_t old = (row * capacity + from) * p.stride() + first * p.dim;
    const int64_t said = i * room * p.stride() + first * p.dim;
    const Slots kept{keys.typed_data() + old, values.typed_data() + old, held - from};
    const Slots fresh{fresh_keys.typed_data() + said, fresh_values.typed_data() + said, at + p.time};
    const int64_t place = (i * p.time * p.heads + first * p.group()) * p.dim;
    attend(p, query.typed_data() + place, kept, fresh, at, out->typed_data() + place);
  };
  if (shared)
    sml_jax::TheCrew().Run(pool, parts * q[0], run);
  else
    for (int64_t i = 0; i < q[0]; ++i) run(i);
  return ffi::Error::Success();
}

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(SmlJaxAttend, Attend,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<Array>()
                                  .Arg<Array>()
                                  .Arg<Array>()
                                  .Arg<Numbers>()
                                  .Arg<Numbers>()
                                  .Arg<Array>()
                                  .Arg<Array>()
                                  .Arg<Numbers>()
                                  .Arg<ffi::Buffer<ffi::PRED>>()
                                  .Ret<Array>()
                                  .Attr<int64_t>("window")
                                  .Attr<float>("scale")
                                  .Attr<float>("softcap")
                                  .Attr<bool>("shared"));
