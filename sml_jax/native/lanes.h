// Neighbouring numbers that are worked on together, on any machine: compilers make of them what vectors there are.

#pragma once

namespace sml_jax {

constexpr int kLanes = 16;
using Lanes = float __attribute__((vector_size(kLanes * sizeof(float)), aligned(sizeof(float)), may_alias));

inline Lanes& At(float* place) { return *reinterpret_cast<Lanes*>(place); }
inline const Lanes& At(const float* place) { return *reinterpret_cast<const Lanes*>(place); }

}  // namespace sml_jax
