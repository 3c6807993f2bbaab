// Rows of floats times a kernel of 8-bit integers by instructions for bytes (VNNI, and AMX for many rows).
//
// A row becomes integers of 16 bits, x = s q, with s such that the largest is 32,639. Integers of 8 bits would lose the
// small numbers of rows that have a few large ones, as hidden states do. One instruction multiplies four signed bytes
// by four unsigned ones in each lane and adds the products to a sum of 32 bits. So q is taken apart into two signed
// bytes, q = 256 high + low, and each of them is multiplied by the unsigned words of the kernel. Sums are exact.

#pragma once

#include <immintrin.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "int8_kernel.h"
#include "int8_tiles.h"

namespace sml_jax {

constexpr float kLargestRowInteger = 127 * 256 + 127;

// Adds to each lane of `sum` the products of its four unsigned and four signed bytes.
inline Words AddDots(Words sum, Words unsigned_bytes, Words signed_bytes) {
#if defined(__AVX512VNNI__)
  return reinterpret_cast<Words>(_mm512_dpbusd_epi32(
      reinterpret_cast<__m512i>(sum), reinterpret_cast<__m512i>(unsigned_bytes), reinterpret_cast<__m512i>(signed_bytes)));
#else
  return reinterpret_cast<Words>(_mm256_dpbusd_avx_epi32(
      reinterpret_cast<__m256i>(sum), reinterpret_cast<__m256i>(unsigned_bytes), reinterpret_cast<__m256i>(signed_bytes)));
#endif
}

// The rows of a product as integers. `Prepare` makes a row, `Multiply` is called when all of its rows are made.
class Int8Rows {
 public:
  // `x` is [rows, kernel.inner].
  Int8Rows(const Int8Kernel& kernel, const float* x, int64_t rows)
      : kernel_(kernel), x_(x), length_(kernel.lines * kWordBytes) {
    // The calling thread keeps the memory from call to call: fresh pages cost more time than what is written to them.
    thread_local std::vector<int8_t> bytes;
    thread_local std::vector<float> scale;
    thread_local std::vector<int32_t> shifts;
    bytes.resize(std::max<size_t>(bytes.size(), 2 * rows * length_));
    scale.resize(std::max<size_t>(scale.size(), rows));
    shifts.resize(std::max<size_t>(shifts.size(), 2 * rows));
    bytes_ = bytes.data();
    scale_ = scale.data();
    shifts_ = shifts.data();
  }

  void Prepare(int64_t row) {
    const float* __restrict x = x_ + row * kernel_.inner;
    int8_t *__restrict high = High(row), *__restrict low = High(row) + length_;
    const float largest = Largest(x), inverse = largest > 0 ? kLargestRowInteger / largest : 0;
    int32_t high_sum = 0, low_sum = 0;
    for (int64_t i = 0; i < kernel_.inner; ++i) {
      const int32_t q = static_cast<int32_t>(__builtin_rintf(x[i] * inverse)), upper = (q + 128) >> 8;
      const int32_t lower = q - upper * 256;
      high[i] = static_cast<int8_t>(upper);
      low[i] = static_cast<int8_t>(lower);
      high_sum += upper;
      low_sum += lower;
    }
    for (int64_t i = kernel_.inner; i < length_; ++i) high[i] = low[i] = 0;
    // Integers cannot tell what is not finite: the whole row becomes NaN, as it would in a sum of floats.
    scale_[row] = IsFinite(x) ? largest / kLargestRowInteger : NAN;
    // The kernel's integers are shifted, and so the sums are by so much.
    shifts_[2 * row] = kShift * high_sum;
    shifts_[2 * row + 1] = kShift * low_sum;
  }

  // out[rows, outer] of the rows and columns in these ranges.
  void Multiply(int64_t row, int64_t end, int64_t column, int64_t last, float* out) {
#if defined(SML_JAX_TILES)
    if (end - row >= kTileRows && TilesAllowed()) {
      const int64_t tiled = row + (end - row) / kTileRows * kTileRows;
      MultiplyTiles(row, tiled, column, last, out);
      row = tiled;
    }
#endif
    ForBlocks(row, end, column, last, [&](auto rows, auto vectors, int64_t r, int64_t c) {
      Block<rows, vectors>(r, c, out);
    });
  }

 private:
  int8_t* High(int64_t row) const { return bytes_ + 2 * row * length_; }

  // Whether all numbers of a row are finite. Their bits tell it whatever the compiler assumes of floats.
  bool IsFinite(const float* x) const {
    constexpr int32_t kExponent = 0x7f800000;
    int32_t others = 0;
    for (int64_t i = 0; i < kernel_.inner; ++i) {
      int32_t bits;
      std::memcpy(&bits, x + i, sizeof bits);
      others |= (bits & kExponent) == kExponent;
    }
    return others == 0;
  }

  // The largest magnitude of a row's numbers.
  float Largest(const float* x) const {
    Lanes most = {};
    int64_t i = 0;
    for (; i + kLanes <= kernel_.inner; i += kLanes) {
      const Lanes numbers = Load(x + i), size = numbers < 0 ? -numbers : numbers;
      most = size > most ? size : most;
    }
    float largest = 0;
    for (int lane = 0; lane < kLanes; ++lane) largest = std::max(largest, most[lane]);
    for (; i < kernel_.inner; ++i) largest = std::max(largest, std::abs(x[i]));
    return largest;
  }

  template <int kRows, int kVectors>
  void Block(int64_t row, int64_t column, float* out) {
    const int64_t words = (kernel_.inner + kWordBytes - 1) / kWordBytes;
    const int8_t *high[kRows], *low[kRows];
    for (int r = 0; r < kRows; ++r) low[r] = (high[r] = High(row + r)) + length_;
    const uint8_t* lines[kVectors];
    for (int v = 0; v < kVectors; ++v) lines[v] = kernel_.Column(column + v * kLanes);
    Words of_high[kRows][kVectors] = {}, of_low[kRows][kVectors] = {};
    for (int64_t i = 0; i < words; ++i) {
      Words kernel[kVectors];
      for (int v = 0; v < kVectors; ++v) kernel[v] = LoadWords(lines[v] + i * kLineBytes);
      for (int r = 0; r < kRows; ++r) {
        const Words upper = Repeat(high[r] + i * kWordBytes), lower = Repeat(low[r] + i * kWordBytes);
        for (int v = 0; v < kVectors; ++v) {
          of_high[r][v] = AddDots(of_high[r][v], kernel[v], upper);
          of_low[r][v] = AddDots(of_low[r][v], kernel[v], lower);
        }
      }
    }
    for (int r = 0; r < kRows; ++r)
      for (int v = 0; v < kVectors; ++v) Finish(row + r, column + v * kLanes, of_high[r][v], of_low[r][v], out);
  }

#if defined(SML_JAX_TILES)
  // As `Multiply`, for a multiple of 16 rows. A pair of blocks stays in the cache while all of the rows go by.
  void MultiplyTiles(int64_t row, int64_t end, int64_t column, int64_t last, float* out) {
    const Tiles tiles;
    alignas(64) int32_t sums[2][2][kTileRows][kBlockColumns];
    for (int64_t c = column; c < last; c += 2 * kBlockColumns) {
      // The last block of an odd number of them is multiplied twice, and used once.
      const int64_t blocks = std::min<int64_t>(2, (last - c) / kBlockColumns), second = c + (blocks - 1) * kBlockColumns;
      for (int64_t r = row; r < end; r += kTileRows) {
        tiles.Multiply(High(r), High(r) + length_, 2 * length_, kernel_.Column(c), kernel_.Column(second),
                       length_ / kTileBytes, sums);
        for (int64_t b = 0; b < blocks; ++b)
          for (int64_t i = 0; i < kTileRows; ++i)
            Finish(r + i, c + b * kBlockColumns, LoadWords(sums[0][b][i]), LoadWords(sums[1][b][i]), out);
      }
    }
  }
#endif

  // Writes the results of a row for kLanes columns, from the sums over both parts of the row's integers.
  void Finish(int64_t row, int64_t column, Words of_high, Words of_low, float* out) const {
    const Lanes upper = __builtin_convertvector(of_high - shifts_[2 * row], Lanes);
    const Lanes lower = __builtin_convertvector(of_low - shifts_[2 * row + 1], Lanes);
    const Lanes sums = (upper * 256.0f + lower) * (scale_[row] * Load(kernel_.scale + column));
    StoreColumns(kernel_, column, sums, out + row * kernel_.outer);
  }

  // The four bytes at a place in every lane.
  static Words Repeat(const int8_t* place) {
    int32_t word;
    std::memcpy(&word, place, sizeof word);
    return Words{} + word;
  }

  const Int8Kernel kernel_;
  const float* const x_;
  const int64_t length_;  // bytes of a row's part, filled up with zeros
  int8_t* bytes_;         // [rows, 2, length_]: high, then low
  float* scale_;          // [rows]
  int32_t* shifts_;       // [rows, 2]
};

}  // namespace sml_jax
