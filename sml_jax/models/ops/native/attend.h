// What attend_few.h and attend_many.h share: the slots of a row, and which of them a query sees.

#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "numbers.h"

namespace sml_jax {

constexpr float kNever = -1e30f;  // the score of a masked slot: its weight is 0

// exp(x - n log 2) for n near x / log 2, to about 2 ulp. Number is float or Lanes.
template <typename Number>
inline Number ExpBeside(Number x, Number n) {
  const Number r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
  Number p = r * 1.9875691500e-4f + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  return p * r * r + r + 1.0f;
}

// exp(x) for x <= 0. Compilers vectorise it, unlike a call of the C library.
inline float Exp(float x) {
  x = std::max(x, -87.0f);
  const float n = __builtin_rintf(x * 1.44269504088896341f);
  const int32_t bits = (static_cast<int32_t>(n) + 127) << 23;
  float power;
  std::memcpy(&power, &bits, sizeof power);
  return ExpBeside(x, n) * power;
}

inline float SoftCap(float score, float cap) {
  const float e = Exp(-2.0f * std::abs(score / cap));
  return std::copysign(cap * (1.0f - e) / (1.0f + e), score);
}

// Neighbouring slots of a row: keys and values [count, kv_heads, dim], from one slot to the next `stride` numbers. For
// one head, the pointers begin at that head. Number is float or Bfloat16.
template <typename Number>
struct Slots {
  const Number* keys;
  const Number* values;
  int64_t count, stride;
};

struct Problem {
  int64_t time, heads, dim, all_kv_heads, window;  // window: 0 where the whole context is seen
  float scale, softcap;                            // softcap: 0 for none
  int64_t kv_heads;                                // how many of them this part of the work has
  int64_t group() const { return heads / all_kv_heads; }
  int64_t queries() const { return time * group(); }     // of a kv head
  int64_t stride() const { return all_kv_heads * dim; }  // from slot to slot of the caches
};

// The slots that a query sees: from `first` to `last`, which is its own.
struct Sight {
  Sight(const Problem& p, int64_t own, int64_t query)
      : last(own + query / p.group()), first(p.window ? std::max<int64_t>(0, last - p.window + 1) : 0) {}
  int64_t last, first;
};

}  // namespace sml_jax
