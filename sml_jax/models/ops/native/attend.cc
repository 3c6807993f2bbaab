// Attention of new tokens over a cache and over each other. Queries and results are float32, keys and values float32 or
// bfloat16. Each row reads only the slots that hold its tokens,
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

template <int kDim, typename Number>
void Row(const Problem& p, const float* query, const Slots<Number>& kept, const Slots<Number>& fresh, int64_t slot,
         float* out) {
  const auto row = p.queries() < 8 ? sml_jax::RowOfFew<kDim, Number> : sml_jax::RowOfMany<Number>;
  row(p, query, kept, fresh, slot, out);
}

using Array = ffi::Buffer<ffi::F32>;
using KeysOrValues = ffi::AnyBuffer;
using Integers = ffi::Buffer<ffi::S32>;

// For keys and values that are stored as Number.
template <typename Number>
ffi::Error AttendTo(ffi::ThreadPool pool, Array query, KeysOrValues keys, KeysOrValues values, Integers rows,
                    Integers start, KeysOrValues fresh_keys, KeysOrValues fresh_values, Integers slot,
                    ffi::Buffer<ffi::PRED> is_local, ffi::ResultBuffer<ffi::F32> out, int64_t window, float scale,
                    float softcap, bool shared) {
  const auto q = query.dimensions(), k = keys.dimensions(), f = fresh_keys.dimensions();
  const int64_t all = k[0], capacity = k[1], kv_heads = k[2], room = f[1], at = slot.typed_data()[0];
  const int64_t parts = shared ? std::clamp<int64_t>(sml_jax::Crew::Size(pool) / q[0], 1, kv_heads) : 1;
  const bool local = is_local.typed_data()[0];
  const Problem whole{q[1], q[2], q[3], kv_heads, local ? window : 0, scale, softcap, kv_heads};
  if (whole.dim % 16 || f[0] != q[0] || at < 0 || at + whole.time > room)
    return ffi::Error::InvalidArgument("attend: shapes");
  const auto attend = whole.dim == 32    ? Row<32, Number>
                      : whole.dim == 64  ? Row<64, Number>
                      : whole.dim == 128 ? Row<128, Number>
                      : whole.dim == 256 ? Row<256, Number>
                                         : Row<0, Number>;
  const auto numbers = [](const KeysOrValues& array) { return static_cast<const Number*>(array.untyped_data()); };
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
    const Slots<Number> kept{numbers(keys) + old, numbers(values) + old, held - from, p.stride()};
    const Slots<Number> fresh{numbers(fresh_keys) + said, numbers(fresh_values) + said, at + p.time, p.stride()};
    const int64_t place = (i * p.time * p.heads + first * p.group()) * p.dim;
    attend(p, query.typed_data() + place, kept, fresh, at, out->typed_data() + place);
  };
  if (shared)
    sml_jax::TheCrew().Run(pool, parts * q[0], run);
  else
    for (int64_t i = 0; i < q[0]; ++i) run(i);
  return ffi::Error::Success();
}

ffi::Error Attend(ffi::ThreadPool pool, Array query, KeysOrValues keys, KeysOrValues values, Integers rows,
                  Integers start, KeysOrValues fresh_keys, KeysOrValues fresh_values, Integers slot,
                  ffi::Buffer<ffi::PRED> is_local, ffi::ResultBuffer<ffi::F32> out, int64_t window, float scale,
                  float softcap, bool shared) {
  const auto type = keys.element_type();
  for (const KeysOrValues& array : {keys, values, fresh_keys, fresh_values})
    if (array.element_type() != type || array.dimensions().size() != 4)
      return ffi::Error::InvalidArgument("attend: keys and values");
  if (type != ffi::F32 && type != ffi::BF16)
    return ffi::Error::InvalidArgument("attend: keys and values must be float32 or bfloat16");
  const auto attend = type == ffi::BF16 ? AttendTo<sml_jax::Bfloat16> : AttendTo<float>;
  return attend(pool, query, keys, values, rows, start, fresh_keys, fresh_values, slot, is_local, out, window, scale,
                softcap, shared);
}

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(SmlJaxAttend, Attend,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<Array>()
                                  .Arg<KeysOrValues>()
                                  .Arg<KeysOrValues>()
                                  .Arg<Integers>()
                                  .Arg<Integers>()
                                  .Arg<KeysOrValues>()
                                  .Arg<KeysOrValues>()
                                  .Arg<Integers>()
                                  .Arg<ffi::Buffer<ffi::PRED>>()
                                  .Ret<Array>()
                                  .Attr<int64_t>("window")
                                  .Attr<float>("scale")
                                  .Attr<float>("softcap")
                                  .Attr<bool>("shared"));
