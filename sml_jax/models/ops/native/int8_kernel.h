// Kernels of 8-bit integers as ../int8.py packs them, and the block of a product that all ways of computing it share.

#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "lanes.h"

namespace sml_jax {

using Words = int32_t __attribute__((vector_size(kLanes * sizeof(int32_t))));  // of 4 bytes in each lane

constexpr int64_t kWordBytes = 4;      // rows of the kernel in a word
constexpr int64_t kBlockColumns = 16;  // columns whose words lie side by side
constexpr int64_t kLineBytes = kBlockColumns * kWordBytes;
constexpr int32_t kShift = 128;  // what is added to the integers, so that they are unsigned

// [blocks of 16 columns, words of 4 rows, 16, 4], and a scale for each column. `outer` of the columns are real.
struct Int8Kernel {
  const uint8_t* words;
  const float* scale;
  int64_t lines, inner, outer;

  // The words of kLanes columns from `column` on, of which a block holds one or several such vectors.
  const uint8_t* Column(int64_t column) const {
    return words + column / kBlockColumns * lines * kLineBytes + column % kBlockColumns * kWordBytes;
  }
};

// How many rows of activations and vectors of columns are multiplied at once, so that the sums stay in registers.
#if defined(__AVX512F__)
constexpr int kRowsAtOnce = 4, kVectorsAtOnce = 3;
#else
constexpr int kRowsAtOnce = 2, kVectorsAtOnce = 2;
#endif

inline Words LoadWords(const void* place) {
  Words words;
  std::memcpy(&words, place, sizeof words);
  return words;
}

// Writes kLanes results of a row, or those of them that are real columns.
inline void StoreColumns(const Int8Kernel& kernel, int64_t column, Lanes sums, float* out) {
  const int64_t count = std::min<int64_t>(kLanes, kernel.outer - column);
  if (count == kLanes)
    Store(out + column, sums);
  else if (count > 0)
    std::memcpy(out + column, &sums, count * sizeof(float));
}

// Calls block<rows, vectors>(row, column) for all rows from `row` to `end` and all columns from `column` to `last`, with
// as many of both at once as fit. A panel of columns stays in the cache while all of the rows go by.
template <typename Block>
void ForBlocks(int64_t row, int64_t end, int64_t column, int64_t last, const Block& block) {
  const auto panel = [&](auto vectors) {
    int64_t r = row;
    for (; r + kRowsAtOnce <= end; r += kRowsAtOnce) block(std::integral_constant<int, kRowsAtOnce>(), vectors, r, column);
    for (; r < end; ++r) block(std::integral_constant<int, 1>(), vectors, r, column);
    column += vectors * kLanes;
  };
  while (column + kVectorsAtOnce * kLanes <= last) panel(std::integral_constant<int, kVectorsAtOnce>());
  while (column < last) panel(std::integral_constant<int, 1>());
}

}  // namespace sml_jax
