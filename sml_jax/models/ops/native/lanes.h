// Neighbouring numbers that are worked on together, on any machine.

#pragma once

#include <cstring>

namespace sml_jax {

// As many as a vector register holds: compilers split longer vectors badly. kSums: of so many sums, what is added to them
// still has registers beside it.
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
  std::memcpy(&lanes, place, sizeof lanes);  // from anywhere: what no type says rightly to both g++ and clang
  return lanes;
}

inline void Store(float* place, Lanes lanes) { std::memcpy(place, &lanes, sizeof lanes); }

}  // namespace sml_jax
