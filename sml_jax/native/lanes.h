// Neighbouring numbers that are worked on together, on any machine.

#pragma once

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
using Lanes = float __attribute__((vector_size(kLanes * sizeof(float)), aligned(sizeof(float)), may_alias));

inline Lanes& At(float* place) { return *reinterpret_cast<Lanes*>(place); }
inline const Lanes& At(const float* place) { return *reinterpret_cast<const Lanes*>(place); }

}  // namespace sml_jax
