// Products of any number of rows and a kernel of 8-bit integers, by all cores.
//
// Built by ../native_build.py; called through jax.ffi by ../native_product.py, whose docstring gives the shapes.

#include <algorithm>
#include <cstdint>
#include <functional>

#include "crew.h"
#include "xla/ffi/api/ffi.h"

#if defined(__AVX512VNNI__) || (defined(__AVXVNNI__) && !defined(__AVX512F__))
#include "int8_dots.h"
#else
#include "int8_widened.h"
#endif

namespace ffi = xla::ffi;

namespace {

constexpr int64_t kChunk = 128;    // rows that are multiplied by all columns of a part: they stay in the cache
constexpr int64_t kPanel = 48;     // a part has a multiple of so many columns: whole blocks, several vectors at once
constexpr int64_t kPartsEach = 4;  // parts for each core, so that one that begins late finds less to do
constexpr int64_t kFewRows = 16;   // up to so many rows are prepared by the caller alone
constexpr int64_t kMostInner = 1 << 16;  // so many products of two bytes always fit into a sum of 32 bits

using Floats = ffi::Buffer<ffi::F32, 2>;
using Packed = ffi::Buffer<ffi::U8, 4>;
using Scales = ffi::Buffer<ffi::F32, 1>;

ffi::Error Product(ffi::ThreadPool pool, Floats x, Packed words, Scales scale,
                   ffi::ResultBuffer<ffi::F32, 2> out, bool shared) {
  const auto given = x.dimensions(), packed = words.dimensions(), made = out->dimensions();
  const int64_t rows = given[0], columns = packed[0] * packed[2];
  if (packed[2] != sml_jax::kBlockColumns || packed[3] != sml_jax::kWordBytes || made[0] != rows || made[1] > columns ||
      given[1] > packed[1] * packed[3] || scale.dimensions()[0] != columns)
    return ffi::Error::InvalidArgument("multiply_int8: shapes");
  if (given[1] > kMostInner) return ffi::Error::InvalidArgument("multiply_int8: a sum over more than 65,536 numbers");
  const sml_jax::Int8Kernel kernel{words.typed_data(), scale.typed_data(), packed[1], given[1], made[1]};
  sml_jax::Int8Rows activations(kernel, x.typed_data(), rows);

  const int64_t cores = shared ? sml_jax::Crew::Size(pool) : 1;
  const auto run = [&](int64_t parts, const std::function<void(int64_t)>& part) {
    if (shared)
      sml_jax::TheCrew().Run(pool, parts, part);
    else
      for (int64_t i = 0; i < parts; ++i) part(i);
  };
  // First all rows are prepared, since every part of the columns reads all of them.
  const int64_t shares = rows > kFewRows ? std::min(rows, kPartsEach * cores) : 1;
  run(shares, [&](int64_t share) {
    for (int64_t row = rows * share / shares; row < rows * (share + 1) / shares; ++row) activations.Prepare(row);
  });
  const int64_t panels = (kernel.outer + kPanel - 1) / kPanel, parts = std::min(panels, kPartsEach * cores);
  run(parts, [&](int64_t part) {
    const int64_t from = panels * part / parts * kPanel;
    const int64_t to = std::min(columns, panels * (part + 1) / parts * kPanel);
    for (int64_t row = 0; row < rows; row += kChunk)
      activations.Multiply(row, std::min(rows, row + kChunk), from, to, out->typed_data());
  });
  return ffi::Error::Success();
}

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(SmlJaxMultiplyInt8, Product,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<Floats>()
                                  .Arg<Packed>()
                                  .Arg<Scales>()
                                  .Ret<Floats>()
                                  .Attr<bool>("shared"));
