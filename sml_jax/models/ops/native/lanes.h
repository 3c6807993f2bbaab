// Vectors of floats, for any machine.

#pragma once

#include <cstring>

namespace sml_jax {

// kLanes: as many as a vector register holds, since compilers split longer vectors badly. kSums: how many sums can stay
// in registers beside what is added to them.
#if defined(__AVX512F__)
constexpr int kLanes = 16, kSums = 16;
#elif defined(__AVX__)
constexpr int kLanes = 8, kSums = 8;
#elif defined(__aarch64__)
constexpr int kLanes = 4, kSums = 16;
#else
constexpr int kLanes = 4, kSums = 8;
#endif
using Lanes = float __attribute__((vector_size(kLanes * sizeof(float))));

inline Lanes Load(const float* place) {
  Lanes lanes;
  std::memcpy(&lanes, place, sizeof lanes);  // an unaligned load that both g++ and clang understand
  return lanes;
}

inline void Store(float* place, Lanes lanes) { std::memcpy(place, &lanes, sizeof lanes); }

}  // namespace sml_jax
