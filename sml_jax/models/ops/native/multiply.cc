// Products of a few rows and a kernel, by all cores. Nearly all of the time goes to reading the kernel, and one core
// cannot use the full bandwidth of caches and memory. XLA's products of one row run on one core.
//
// Built by ../native_build.py; called through jax.ffi by ../native_product.py, whose docstring gives the shapes.

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "crew.h"
#include "lanes.h"
#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;
using sml_jax::kLanes;
using sml_jax::Lanes;
using sml_jax::Load;
using sml_jax::Store;

namespace {

constexpr int64_t kLines = 8;     // lines of the kernel that are read side by side
constexpr int64_t kColumns = 64;  // a core gets a multiple of so many columns, so that it reads memory in order

struct Problem {
  int64_t batch, inner, outer;
  const float* x;       // [batch, inner]
  const float* kernel;  // [inner, outer], or [outer, inner] if turned
};

// out[b][c] += x[b][i + l] kernel[i + l][c] for kCount lines l and the columns from `from` to `to`.
template <int64_t kCount>
void Lines(const Problem& p, int64_t i, int64_t from, int64_t to, float* out) {
  for (int64_t b = 0; b < p.batch; ++b) {
    float x[kCount];  // a copy: the compiler would read p.x again after every write to out
    std::memcpy(x, p.x + b * p.inner + i, sizeof x);
    const int64_t outer = p.outer;
    const float* line = p.kernel + i * outer;
    float* sum = out + b * outer;
    int64_t c = from;
    for (; c + kLanes <= to; c += kLanes) {
      Lanes even = Load(sum + c), odd = {};
      for (int64_t l = 0; l < kCount; ++l) (l % 2 ? odd : even) += x[l] * Load(line + l * outer + c);
      Store(sum + c, even + odd);
    }
    for (; c < to; ++c)
      for (int64_t l = 0; l < kCount; ++l) sum[c] += x[l] * line[l * outer + c];
  }
}

void Multiply(const Problem& p, int64_t from, int64_t to, float* out) {
  for (int64_t b = 0; b < p.batch; ++b) std::fill(out + b * p.outer + from, out + b * p.outer + to, 0.0f);
  int64_t i = 0;
  for (; i + kLines <= p.inner; i += kLines) Lines<kLines>(p, i, from, to, out);
  for (; i < p.inner; ++i) Lines<1>(p, i, from, to, out);
}

// As Multiply, for a kernel [outer, inner].
void MultiplyTurned(const Problem& p, int64_t from, int64_t to, float* out) {
  for (int64_t c = from; c < to; ++c)
    for (int64_t b = 0; b < p.batch; ++b) {
      float sum = 0;
      for (int64_t i = 0; i < p.inner; ++i) sum += p.x[b * p.inner + i] * p.kernel[c * p.inner + i];
      out[b * p.outer + c] = sum;
    }
}

using Array = ffi::Buffer<ffi::F32, 2>;

ffi::Error Product(ffi::ThreadPool pool, Array x, Array kernel, ffi::ResultBuffer<ffi::F32, 2> out, bool turned) {
  const auto given = x.dimensions(), by = kernel.dimensions(), made = out->dimensions();
  if (given[1] != by[turned] || made[0] != given[0] || made[1] != by[!turned])
    return ffi::Error::InvalidArgument("multiply: shapes");
  const Problem p{given[0], given[1], made[1], x.typed_data(), kernel.typed_data()};
  const int64_t blocks = (p.outer + kColumns - 1) / kColumns;
  const int64_t parts = std::min(sml_jax::Crew::Size(pool), blocks);
  const auto columns = [&](int64_t part) { return std::min(p.outer, blocks * part / parts * kColumns); };
  sml_jax::TheCrew().Run(pool, parts, [&](int64_t part) {
    (turned ? MultiplyTurned : Multiply)(p, columns(part), columns(part + 1), out->typed_data());
  });
  return ffi::Error::Success();
}

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(SmlJaxMultiply, Product,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<Array>()
                                  .Arg<Array>()
                                  .Ret<Array>()
                                  .Attr<bool>("turned"));
