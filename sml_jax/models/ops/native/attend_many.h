// Attention for many queries, as when a given text is processed, which is bound by arithmetic. A vector lane holds one
// query. Slots are read in chunks that span all heads, so memory is read in order and each chunk once. The softmax is
// updated chunk by chunk (online softmax: Milakov and Gimelshein, arXiv 1805.02867).

#pragma once

#include <algorithm>
#include <cstdint>
#include <type_traits>
#include <vector>

#include "attend.h"
#include "lanes.h"

namespace sml_jax {

constexpr int64_t kChunk = 32;  // slots in a chunk

using Whole = int32_t __attribute__((vector_size(kLanes * sizeof(int32_t))));

// `Exp` for lanes. Truncation rounds x log2(e) correctly, since it is at most 0.
inline Lanes Exp(Lanes x) {
  x = x > -87.0f ? x : -87.0f;
  const Whole whole = __builtin_convertvector(x * 1.44269504088896341f - 0.5f, Whole);
  const Lanes n = __builtin_convertvector(whole, Lanes);
  return ExpBeside(x, n) * reinterpret_cast<Lanes>((whole + 127) << 23);
}

// kLines queries of one kv head and their sums over the slots so far: out[d][q] of the weighted values and total[q] of
// the weights, both relative to the highest score.
template <int kLines>
struct Queries {
  float* turned;  // the queries, transposed: [dim, kLines]
  float* out;     // [dim, kLines]
  float highest[kLines], total[kLines];
};

// score[j][q] = key[j] . query[q] for kSlots neighbouring slots. The slots `ahead` are prefetched little by little
// meanwhile: a core stalls when too many prefetches are outstanding.
template <int kSlots, int kLines>
void Dots(const float* turned, const float* keys, int64_t stride, int64_t dim, int64_t ahead, float* score) {
  constexpr int kParts = kLines / kLanes;
  Lanes sum[kSlots][kParts] = {};
  for (int64_t d = 0; d < dim; ++d) {
    if (d < kSlots * dim / kFetched<float>)
      __builtin_prefetch(keys + ahead + d % kSlots * stride + d / kSlots * kFetched<float>);
    for (int j = 0; j < kSlots; ++j)
      for (int q = 0; q < kParts; ++q) sum[j][q] += keys[j * stride + d] * Load(turned + d * kLines + q * kLanes);
  }
  for (int j = 0; j < kSlots; ++j)
    for (int q = 0; q < kParts; ++q) Store(score + j * kLines + q * kLanes, sum[j][q]);
}

// out[d][q] = out[d][q] fade[q] + sum over j of weight[j][q] value[j][d], for kWidth numbers d of a head.
template <int kWidth, int kLines>
void Blend(const float* weight, const float* fade, const float* values, int64_t stride, int64_t count, int64_t ahead,
           float* out) {
  constexpr int kParts = kLines / kLanes;
  Lanes sum[kWidth][kParts];
  for (int d = 0; d < kWidth; ++d)
    for (int q = 0; q < kParts; ++q) sum[d][q] = Load(out + d * kLines + q * kLanes) * Load(fade + q * kLanes);
  for (int64_t j = 0; j < count; ++j) {
    __builtin_prefetch(values + ahead + j * stride);
    for (int d = 0; d < kWidth; ++d)
      for (int q = 0; q < kParts; ++q) sum[d][q] += values[j * stride + d] * Load(weight + j * kLines + q * kLanes);
  }
  for (int d = 0; d < kWidth; ++d)
    for (int q = 0; q < kParts; ++q) Store(out + d * kLines + q * kLanes, sum[d][q]);
}

// Turns scores into weights relative to the highest score so far. fade[q] is the factor for earlier sums, which were
// relative to an earlier highest score.
template <int kLines>
void Weigh(float* score, int64_t count, Queries<kLines>& queries, float* fade) {
  for (int q = 0; q < kLines; q += kLanes) {
    const Lanes before = Load(queries.highest + q);
    Lanes highest = before, total = {};
    for (int64_t j = 0; j < count; ++j) {
      const Lanes s = Load(score + j * kLines + q);
      highest = s > highest ? s : highest;
    }
    for (int64_t j = 0; j < count; ++j) {
      const Lanes weight = Exp(Load(score + j * kLines + q) - highest);
      total += weight;
      Store(score + j * kLines + q, weight);
    }
    const Lanes less = Exp(before - highest);
    Store(fade + q, less);
    Store(queries.highest + q, highest);
    Store(queries.total + q, Load(queries.total + q) * less + total);
  }
}

// Adds a chunk of one head's slots to the sums. The chunk's first slot is number `from` of the row; the next chunk is
// `ahead` numbers further.
template <int kLines>
void TakeIn(const Problem& p, const Slots<float>& slots, int64_t from, int64_t ahead, const Sight* sights,
            Queries<kLines>& queries) {
  constexpr int kSlots = kSums * kLanes / kLines;
  float score[kChunk * kLines], fade[kLines];
  const auto dots = [&](auto count, int64_t first) {
    const float* keys = slots.keys + first * slots.stride;
    Dots<count, kLines>(queries.turned, keys, slots.stride, p.dim, ahead, score + first * kLines);
  };
  int64_t j = 0;
  for (; j + kSlots <= slots.count; j += kSlots) dots(std::integral_constant<int, kSlots>(), j);
  for (; j < slots.count; ++j) dots(std::integral_constant<int, 1>(), j);
  if (p.softcap != 0)
    for (int64_t i = 0; i < slots.count * kLines; ++i) score[i] = SoftCap(score[i], p.softcap);
  // Most chunks are seen in full by all queries, which needs no masking.
  if (from < sights[kLines - 1].first || from + slots.count - 1 > sights[0].last)
    for (j = 0; j < slots.count; ++j)
      for (int q = 0; q < kLines; ++q)
        if (from + j < sights[q].first || from + j > sights[q].last) score[j * kLines + q] = kNever;
  Weigh<kLines>(score, slots.count, queries, fade);
  for (int64_t d = 0; d < p.dim; d += kSlots)
    Blend<kSlots, kLines>(score, fade, slots.values + d, slots.stride, slots.count, ahead, queries.out + d * kLines);
}

// A chunk of one head's slots as floats: as it is, or widened into a buffer, which then serves all kLines queries.
inline Slots<float> AsFloats(const Slots<float>& chunk, int64_t) { return chunk; }

inline Slots<float> AsFloats(const Slots<Bfloat16>& chunk, int64_t dim) {
  thread_local std::vector<float> widened;
  widened.resize(2 * kChunk * dim);
  float *keys = widened.data(), *values = keys + kChunk * dim;
  for (int64_t j = 0; j < chunk.count; ++j)
    for (int64_t d = 0; d < dim; ++d) {
      keys[j * dim + d] = chunk.keys[j * chunk.stride + d];
      values[j * dim + d] = chunk.values[j * chunk.stride + d];
    }
  return {keys, values, chunk.count, dim};
}

// Attention of up to kLines queries of a row, from number `first` on, for every head.
template <int kLines, typename Number>
void Lines(const Problem& p, const float* query, const Slots<Number>& kept, const Slots<Number>& fresh, int64_t own,
           int64_t first, float* out) {
  const int64_t dim = p.dim, group = p.group(), size = dim * kLines;
  const int64_t count = std::min<int64_t>(kLines, p.queries() - first);
  thread_local std::vector<float> numbers;
  thread_local std::vector<Queries<kLines>> heads;
  numbers.assign(2 * p.kv_heads * size, 0.0f);
  heads.resize(p.kv_heads);
  const auto place = [&](int64_t h, int64_t q) {
    return ((first + q) / group * p.heads + h * group + (first + q) % group) * dim;
  };
  std::vector<Sight> sights;  // lanes past the last query repeat that query
  for (int64_t q = 0; q < kLines; ++q) sights.emplace_back(p, own, std::min(first + q, p.queries() - 1));
  for (int64_t h = 0; h < p.kv_heads; ++h) {
    Queries<kLines>& head = heads[h];
    head.turned = numbers.data() + 2 * h * size;
    head.out = head.turned + size;
    std::fill(head.highest, head.highest + kLines, kNever);
    std::fill(head.total, head.total + kLines, 0.0f);
    for (int64_t q = 0; q < count; ++q)
      for (int64_t d = 0; d < dim; ++d) head.turned[d * kLines + q] = query[place(h, q) + d] * p.scale;
  }
  const auto take = [&](const Slots<Number>& slots, int64_t before) {
    const int64_t end = std::min(slots.count, sights.back().last + 1 - before);
    for (int64_t j = std::max<int64_t>(0, sights[0].first - before); j < end; j += kChunk) {
      // Where a chunk is widened, reading it in order has the hardware prefetch the next one.
      const int64_t ahead = std::is_same_v<Number, float> && j + kChunk < end ? kChunk * slots.stride : 0;
      for (int64_t h = 0; h < p.kv_heads; ++h) {
        const int64_t at = j * slots.stride + h * p.dim;
        const Slots<Number> chunk{slots.keys + at, slots.values + at, std::min(kChunk, end - j), slots.stride};
        TakeIn<kLines>(p, AsFloats(chunk, p.dim), before + j, ahead, sights.data(), heads[h]);
      }
    }
  };
  take(kept, 0);
  take(fresh, kept.count);
  for (int64_t h = 0; h < p.kv_heads; ++h)
    for (int64_t q = 0; q < count; ++q) {
      const float share = 1.0f / heads[h].total[q];
      for (int64_t d = 0; d < dim; ++d) out[place(h, q) + d] = heads[h].out[d * kLines + q] * share;
    }
}

// Attention of one row, for all heads of this part of the work.
template <typename Number>
void RowOfMany(const Problem& p, const float* query, const Slots<Number>& kept, const Slots<Number>& fresh,
               int64_t slot, float* out) {
  const int64_t own = kept.count + slot;
  int64_t first = 0;
  for (; first + kLanes < p.queries(); first += 2 * kLanes)
    Lines<2 * kLanes>(p, query, kept, fresh, own, first, out);
  if (first < p.queries()) Lines<kLanes>(p, query, kept, fresh, own, first, out);
}

}  // namespace sml_jax
