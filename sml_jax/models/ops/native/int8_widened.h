// Rows of floats times a kernel of 8-bit integers on CPUs without instructions for bytes: the integers become floats in
// registers, once for several rows.

#pragma once

#include <cstdint>

#include "int8_kernel.h"

namespace sml_jax {

// The rows of a product. They are used as they are, so there is nothing to prepare.
class Int8Rows {
 public:
  // `x` is [rows, kernel.inner].
  Int8Rows(const Int8Kernel& kernel, const float* x, int64_t) : kernel_(kernel), x_(x) {}

  void Prepare(int64_t) {}

  // out[rows, outer] of the rows and columns in these ranges.
  void Multiply(int64_t row, int64_t end, int64_t column, int64_t last, float* out) {
    ForBlocks(row, end, column, last, [&](auto rows, auto vectors, int64_t r, int64_t c) {
      Block<rows, vectors>(r, c, out);
    });
  }

 private:
  template <int kRows, int kVectors>
  void Block(int64_t row, int64_t column, float* out) {
    const float* x = x_ + row * kernel_.inner;
    Lanes sums[kRows][kVectors] = {};
    for (int64_t i = 0; i < kernel_.inner; ++i) {
      const int64_t line = i / kWordBytes * kLineBytes, bits = 8 * (i % kWordBytes);
      for (int v = 0; v < kVectors; ++v) {
        const Words words = LoadWords(kernel_.Column(column + v * kLanes) + line);
        const Lanes kernel = __builtin_convertvector((words >> bits & 255) - kShift, Lanes);
        for (int r = 0; r < kRows; ++r) sums[r][v] += x[r * kernel_.inner + i] * kernel;
      }
    }
    for (int r = 0; r < kRows; ++r)
      for (int v = 0; v < kVectors; ++v) {
        const int64_t c = column + v * kLanes;
        StoreColumns(kernel_, c, sums[r][v] * Load(kernel_.scale + c), out + (row + r) * kernel_.outer);
      }
  }

  const Int8Kernel kernel_;
  const float* const x_;
};

}  // namespace sml_jax
