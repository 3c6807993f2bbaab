// The numbers that keys and values are stored as: float, or the upper half of one.

#pragma once

#include <cstdint>
#include <cstring>

namespace sml_jax {

// A bfloat16, read as the float whose lower half is 0. Compilers vectorise the conversion.
struct Bfloat16 {
  uint16_t bits;
  operator float() const {
    const uint32_t word = static_cast<uint32_t>(bits) << 16;
    float number;
    std::memcpy(&number, &word, sizeof number);
    return number;
  }
};

template <typename Number>
constexpr int64_t kFetched = 64 / sizeof(Number);  // numbers in a cache line of 64 bytes

}  // namespace sml_jax
