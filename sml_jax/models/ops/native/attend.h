// What both ways of attending work on: a row's slots and the queries that look at them.

#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

namespace sml_jax {

constexpr float kNever = -1e30f;  // a score that no softmax counts
constexpr int64_t kFetched = 16;  // numbers that come from memory at once: 64 bytes

// exp(x - n log 2) where n is near x / log 2, to about 2 ulp; of a number or of lanes.
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

// exp for x <= 0; vectorises, where a call of the C library's does not.
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

// Neighbouring slots: keys and values [count, kv_heads, dim], from one head's on where it is about one head.
struct Slots {
  const float* keys;
  const float* values;
  int64_t count;
};

struct Problem {
  int64_t time, heads, dim, all_kv_heads, window;  // window: 0 where the whole context is seen
  float scale, softcap;                            // softcap: 0 for none
  int64_t kv_heads;                                // that one core works on
  int64_t group() const { return heads / all_kv_heads; }
  int64_t queries() const { return time * group(); }     // of a kv head
  int64_t stride() const { return all_kv_heads * dim; }  // from slot to slot
};

// What a query sees of its line of slots: from `first` to `last`, its own.
struct Sight {
  Sight(const Problem& p, int64_t own, int64_t query)
      : last(own + query / p.group()), first(p.window ? std::max<int64_t>(0, last - p.window + 1) : 0) {}
  int64_t last, first;
};

}  // namespace sml_jax
