// Attention for a few queries of each head, as in a decoding step, which is bound by reading the cache.
// A vector lane holds one number of a head, and memory is read in order. The softmax is taken over all scores at once.

#pragma once

#include <algorithm>
#include <cstring>
#include <vector>

#include "attend.h"

namespace sml_jax {

constexpr int64_t kAhead = 8;  // how many slots before its use a slot is prefetched

// Prefetches the numbers of a head. The hardware's own prefetching stops at the end of a page of 4 KB. Always inline,
// since g++ 12 drops calls of a function that only prefetches.
template <typename Number>
__attribute__((always_inline)) inline void Fetch(const Number* numbers, int64_t dim) {
  for (int64_t d = 0; d < dim; d += kFetched<Number>) __builtin_prefetch(numbers + d);
}

// Computes score[h][q][j], where lines [h][q] are `width` slots apart.
template <int kDim, typename Number>
void ScoresOfFew(const Problem& p, const float* query, const Slots<Number>& slots, float* score, int64_t width) {
  const int64_t dim = kDim ? kDim : p.dim, queries = p.queries();
  for (int64_t j = 0; j < slots.count; ++j)
    for (int64_t h = 0; h < p.kv_heads; ++h) {
      const Number* key = slots.keys + j * slots.stride + h * dim;
      Fetch(key + kAhead * slots.stride, dim);
      for (int64_t q = h * queries; q < (h + 1) * queries; ++q) {
        float sum = 0;
        for (int64_t d = 0; d < dim; ++d) sum += query[q * dim + d] * key[d];
        score[q * width + j] = sum;
      }
    }
}

// out[h][q] += sum of weight[h][q][j] value[j][h] over kSlots slots j.
template <int kDim, int kSlots, typename Number>
void BlendOfFew(const Problem& p, const float* weight, int64_t width, const Number* values, int64_t stride,
                float* out) {
  const int64_t dim = kDim ? kDim : p.dim, queries = p.queries();
  for (int64_t h = 0; h < p.kv_heads; ++h) {
    for (int j = 0; j < kSlots; ++j) Fetch(values + (j + kAhead) * stride + h * dim, dim);
    for (int64_t q = h * queries; q < (h + 1) * queries; ++q)
      for (int64_t d = 0; d < dim; ++d) {
        float sum = out[q * dim + d];
        for (int j = 0; j < kSlots; ++j) sum += weight[q * width + j] * values[j * stride + h * dim + d];
        out[q * dim + d] = sum;
      }
  }
}

template <int kDim, typename Number>
void BlendAllOfFew(const Problem& p, const float* weight, int64_t width, const Slots<Number>& slots, float* out) {
  const int64_t stride = slots.stride;
  int64_t j = 0;
  for (; j + 4 <= slots.count; j += 4)
    BlendOfFew<kDim, 4>(p, weight + j, width, slots.values + j * stride, stride, out);
  for (; j < slots.count; ++j) BlendOfFew<kDim, 1>(p, weight + j, width, slots.values + j * stride, stride, out);
}

// Turns scores [kv_heads, queries, width] into weights; masked slots get 0.
void SoftmaxOfFew(const Problem& p, float* score, int64_t width, int64_t own) {
  for (int64_t i = 0; i < p.kv_heads * p.queries(); ++i) {
    float* line = score + i * width;
    const Sight sight(p, own, i % p.queries());
    float highest = kNever, total = 0;
    for (int64_t j = sight.first; j <= sight.last; ++j) highest = std::max(highest, line[j]);
    for (int64_t j = sight.first; j <= sight.last; ++j) total += line[j] = Exp(line[j] - highest);
    const float share = 1.0f / total;
    for (int64_t j = sight.first; j <= sight.last; ++j) line[j] *= share;
    std::fill(line, line + sight.first, 0.0f);
    std::fill(line + sight.last + 1, line + width, 0.0f);
  }
}

// Attention of one row, for all heads of this part of the work.
template <int kDim, typename Number>
void RowOfFew(const Problem& p, const float* query, const Slots<Number>& kept, const Slots<Number>& fresh, int64_t slot,
              float* out) {
  const int64_t dim = kDim ? kDim : p.dim, queries = p.queries(), width = kept.count + fresh.count;
  thread_local std::vector<float> asked, score, sum;
  asked.resize(p.kv_heads * queries * dim);
  score.resize(p.kv_heads * queries * width);
  sum.assign(asked.size(), 0.0f);
  // Queries come as [time, kv_heads, group, dim] and are worked on as [kv_heads, time, group, dim].
  const auto place = [&](int64_t t, int64_t h) { return (h * p.time + t) * p.group() * dim; };
  for (int64_t t = 0; t < p.time; ++t)
    for (int64_t h = 0; h < p.kv_heads; ++h)
      for (int64_t i = 0; i < p.group() * dim; ++i)
        asked[place(t, h) + i] = query[(t * p.heads + h * p.group()) * dim + i] * p.scale;
  ScoresOfFew<kDim>(p, asked.data(), kept, score.data(), width);
  ScoresOfFew<kDim>(p, asked.data(), fresh, score.data() + kept.count, width);
  if (p.softcap != 0)
    for (float& one : score) one = SoftCap(one, p.softcap);
  SoftmaxOfFew(p, score.data(), width, kept.count + slot);
  BlendAllOfFew<kDim>(p, score.data(), width, kept, sum.data());
  BlendAllOfFew<kDim>(p, score.data() + kept.count, width, fresh, sum.data());
  for (int64_t t = 0; t < p.time; ++t)
    for (int64_t h = 0; h < p.kv_heads; ++h)
      std::memcpy(out + (t * p.heads + h * p.group()) * dim, &sum[place(t, h)], p.group() * dim * sizeof(float));
}

}  // namespace sml_jax
